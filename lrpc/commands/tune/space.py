"""What is searched: a composite, and for each part of the model the rule of its weighted maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lrpc.commands.evaluate.candidates import Candidate
from lrpc.ir.graph import Graph

ROLES = ("linear", "convolution")
BASES = ("epsilon", "cp_lrp", "attnlrp", "maskdino")
GAMMAS = (0.0, 0.05, 0.1, 0.25, 0.5)


@dataclass(frozen=True)
class Choice:
    """A composite with γ by part; parts that are not named have the composite's own rules. γ = 0 is
    the ε rule."""

    base: str
    gammas: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As a candidate: the composite, and each part with its γ."""
        parts = [f"{part} {gamma:g}" for part, gamma in self.gammas.items()]
        return ", ".join([self.base, *parts])

    def with_gamma(self, part: str, gamma: float) -> Choice:
        """The same but for one part."""
        return replace(self, gammas={**self.gammas, part: gamma})

    def rules(self) -> list[dict[str, Any]]:
        """The entries for LRPC.RULES."""
        return [
            {"role": "|".join(ROLES), "module": f"{part}|{part}.*", **_rule(gamma)}
            for part, gamma in self.gammas.items()
        ]

    def options(self) -> dict[str, Any]:
        """Keys below LRPC."""
        return {"COMPOSITE": self.base, "RULES": self.rules()}

    def candidate(self) -> Candidate:
        """For `lrpc evaluate`."""
        return Candidate(self.name, self.options())


def _rule(gamma: float) -> dict[str, Any]:
    return {"rule": "gamma", "gamma": gamma} if gamma else {"rule": "epsilon"}


def parts_of(graph: Graph, most: int) -> list[str]:
    """The parts of a model that have linear maps or convolutions, in their order: module paths down
    to the first number. Where there are more than `most`, those that lie in one module are one; if
    that were all of them, those with the fewest maps are left out."""
    modules = [n.loc.module for n in graph.nodes if n.role in ROLES and n.loc.module]
    parts = list(dict.fromkeys(_part(module) for module in modules))
    while len(parts) > most:
        deepest = max(part.count(".") for part in parts)
        if not deepest:
            break
        outer = Counter(p.rpartition(".")[0] for p in parts if p.count(".") == deepest)
        largest = max(outer, key=lambda one: outer[one])
        joined = list(dict.fromkeys(_within(part, largest, deepest) for part in parts))
        if len(_apart(joined)) == 1 < most:
            return _largest(_apart(parts), modules, most)
        parts = joined
    return _apart(parts)


def _largest(parts: Sequence[str], modules: Sequence[str], most: int) -> list[str]:
    """As many of the parts as have the most maps, in the parts' order."""
    maps = {part: sum(f"{m}.".startswith(f"{part}.") for m in modules) for part in parts}
    chosen = sorted(parts, key=lambda part: -maps[part])[:most]
    return [part for part in parts if part in chosen]


def _part(module: str) -> str:
    names = module.split(".")
    first = next((n for n, name in enumerate(names) if name.isdigit()), len(names))
    return ".".join(names[: max(first, 1)])


def _within(part: str, outer: str, depth: int) -> str:
    """The outer module of the parts that lie in it at this depth; any other part as it is."""
    parent = part.rpartition(".")[0]
    return outer if part.count(".") == depth and parent == outer else part


def _apart(parts: Iterable[str]) -> list[str]:
    """Without parts that lie inside another."""
    listed = list(parts)
    return [p for p in listed if not any(p.startswith(f"{other}.") for other in listed)]


def steps(current: Choice, part: str, gammas: Sequence[float]) -> list[Choice]:
    """The choices that differ from the current one in one part; the current one is not among
    them."""
    found = [current.with_gamma(part, gamma) for gamma in gammas]
    return [one for one in found if one != current]
