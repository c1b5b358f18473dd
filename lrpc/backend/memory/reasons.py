"""Why each value is saved: which nodes' rules read it on the way back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lrpc.backend.memory.run import Model
from lrpc.ir.graph import Node, Rule


@dataclass(frozen=True, slots=True)
class Reader:
    """A relevance operation that reads a saved value: whose it is, under which rule, and what it
    computes. Sums between blocks and what is handed out belong to no rule."""

    module: str
    rule: str
    op: str

    def __str__(self) -> str:
        who = self.module or "model"
        return f"{who}: {self.rule} ({self.op})" if self.rule else f"{who}: {self.op}"


def readers(model: Model, target: int) -> dict[str, tuple[Reader, ...]]:
    """Saved value → its readers for one target, each once, in the order in which they read."""
    nodes = model.reading.parts[target][0]
    return _readers(nodes, model.reading.needed, [model.codes[target].value.name])


def _readers(
    nodes: Sequence[Node], saved: frozenset[str], starts: Iterable[str]
) -> dict[str, tuple[Reader, ...]]:
    found: dict[str, dict[Reader, None]] = {}
    for name in starts:
        found.setdefault(name, {})[Reader("", "", "start")] = None
    for node in nodes:
        place = str(node.attr("name")) if node.op == "read" else node.loc.module
        reader = Reader(place, _name(node.rule), node.op)
        for value in node.inputs:
            if value.name in saved:
                found.setdefault(value.name, {})[reader] = None
    return {name: tuple(whom) for name, whom in found.items()}


def _name(rule: Rule | None) -> str:
    return rule.name if rule else ""


def saved_for(model: Model, targets: Iterable[int]) -> dict[str, list[str]]:
    """Saved value → its readers over several targets, as text; those kept for the start alone
    say so."""
    found: dict[str, dict[str, None]] = {}
    for target in targets:
        for name, whom in readers(model, target).items():
            found.setdefault(name, {}).update(dict.fromkeys(map(str, whom)))
    order = [v.name for v in model.graph.values() if v.name in found]
    return {name: list(found[name]) for name in order}
