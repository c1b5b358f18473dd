"""The manifest of a program: what its files are, what it can do, and what it was made from."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lrpc
from lrpc.backend.interface import TargetCode, ledger_rows
from lrpc.errors import ProgramError
from lrpc.ir.graph import Graph
from lrpc.program.targets import Target

#: Keys that every program has of its own.
WRITTEN = frozenset({
    "lrpc", "versions", "sha256", "inputs", "outputs", "targets", "rules", "plan", "memory",
    "settings", "ledger", "saved", "sizes", "composites", "graph", "reference_weights",
    "precision_report",
})  # fmt: skip


@dataclass(frozen=True)
class Lowered:
    """One composite's part of a program: its annotated graph, and the code of every target."""

    composite: str
    epsilon: float
    graph: Graph
    codes: tuple[TargetCode, ...]
    tensors: tuple[Mapping[str, Tensor], ...]

    def labelled(self) -> Lowered:
        """The same, its code named after the composite: one of several."""
        return replace(self, codes=tuple(replace(c, composite=self.composite) for c in self.codes))


@dataclass(frozen=True)
class Report:
    """What a compilation did: where the program lies, what it can do, what to know about it."""

    directory: Path
    nodes: int
    targets: tuple[str, ...]
    places: tuple[str, ...]
    notes: tuple[str, ...]
    composites: tuple[str, ...]
    precision: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()


def report_of(
    output: Path,
    nodes: int,
    manifest: Mapping[str, Any],
    notes: Sequence[str],
    special: Sequence[str] = (),
) -> Report:
    """The report of a compilation that wrote this manifest; `special` says what the program holds
    fixed as on its example."""
    places = sorted({place for target in manifest["targets"] for place in target["reads"]})
    names = tuple(target["name"] for target in manifest["targets"])
    composites = tuple(manifest.get("composites", (manifest["composite"],)))
    precision = manifest.get("precision_report")
    warnings = (*special, *check_warnings(manifest))
    return Report(
        output, nodes, names, tuple(places), tuple(notes), composites, precision, warnings
    )


def check_warnings(manifest: Mapping[str, Any]) -> list[str]:
    """What a user must know of how the program was held against its model."""
    said = manifest["check"]
    if said["against"] is None:
        return ["the program was not held against a model"]
    return [f"not held against the model on {case}" for case in said["not_on"]]


def graph_file(one: Lowered, first: Lowered) -> str:
    """The name of the file that holds a composite's annotated graph."""
    return "graph.lrp" if one is first else f"graph.{one.composite}.lrp"


def manifest(
    made: Sequence[Lowered],
    targets: Sequence[Target],
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
    files: Mapping[str, bytes],
    saved: Mapping[str, tuple[str, str]],
    plans: Sequence[Mapping[str, Any]],
    memory: Mapping[str, Any],
) -> bytes:
    """The text of manifest.json; `plans` holds the memory plan of each composite, `memory` what was
    chosen to keep the budget.

    Its top level speaks of the first composite. Where there are several, `composites` lists all of
    them, each with its graph's file and whatever differs from the top level.
    """
    first = made[0]
    data = {
        "lrpc": {"format": 1},
        "versions": {
            "lrpc": lrpc.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        **facts,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "inputs": {v.name: str(v.type) for v in first.graph.inputs},
        "outputs": {name: str(v.type) for name, v in first.graph.outputs},
        **_of_rules(first, targets, plans[0]),
        "memory": memory,
        "settings": settings,
        "saved": saved,
        "ledger": _ledger(first),
    }
    if sizes := first.graph.sizes:
        data["sizes"] = {s.name: {"step": s.step, "example": s.example} for s in sizes}
    if len(made) > 1:
        data["composites"] = {
            one.composite: _part(one, first, targets, plan)
            for one, plan in zip(made, plans, strict=True)
        }
    return (json.dumps(data, indent=1) + "\n").encode()


def own_facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest holds beside what is written anew with every program."""
    return {key: value for key, value in manifest.items() if key not in WRITTEN}


def stated_targets(manifest: Mapping[str, Any]) -> list[Target]:
    """The targets of a program."""
    return [
        Target(t["name"], t["mark"], tuple(t["axes"]), tuple(t["index_names"]), t["token"])
        for t in manifest["targets"]
    ]


def check_fits(path: Path, graph: Graph, manifest: Mapping[str, Any]) -> None:
    """ProgramError where targets and outputs that a manifest states are not the graph's."""
    outputs, stated = (
        {name for name, _ in graph.outputs},
        _leaves(manifest["settings"]["structure"]),
    )
    if odd := sorted(outputs ^ set(stated)) or [n for n in stated if stated.count(n) > 1]:
        raise ProgramError(
            f"{path}: settings: structure: expected the graph's outputs, each once;"
            f" {odd[0]!r:.60} is not; edit both, or compile the model again"
        )
    for target in manifest["targets"]:
        name, place = target["name"], target["mark"]
        value = graph.value_at.get(place)
        if value is None:
            raise ProgramError(
                f"{path}: target {name!r:.60} starts at {place!r:.60}, no place of the graph"
            )
        axes = [*target["axes"], *(() if target["token"] is None else (target["token"],))]
        if any(axis >= value.type.rank - 1 for axis in axes):
            raise ProgramError(
                f"{path}: target {name!r:.60}: axes and token count from 0 to"
                f" {value.type.rank - 2} in {value.type}; got {axes}"
            )
    inputs = [value.name for value in graph.inputs]
    for place, name in manifest["settings"]["places"]["inputs"].items():
        if name not in inputs:
            raise ProgramError(
                f"{path}: settings: places: inputs: {place!r:.60}: expected an input of the graph"
                f" ({', '.join(inputs):.60}), got {name!r:.60}"
            )


def _leaves(structure: Any) -> list[str]:
    """The names of the outputs in a nesting, as `lrpc.frontend.structure` describes it."""
    if isinstance(structure, str):
        return [structure]
    ((kind, content),) = structure.items()
    if kind == "value":
        return []
    parts = content.values() if kind == "dict" else content
    return [n for part in parts for n in _leaves(part[1] if kind == "items" else part)]


def _part(
    one: Lowered, first: Lowered, targets: Sequence[Target], plan: Mapping[str, Any]
) -> dict[str, Any]:
    said = {
        "composite": one.composite,
        "epsilon": one.epsilon,
        "graph": graph_file(one, first),
    }
    if one is first:
        return said
    return {**said, **_of_rules(one, targets, plan), "ledger": _ledger(one)}


def _of_rules(one: Lowered, targets: Sequence[Target], plan: Mapping[str, Any]) -> dict[str, Any]:
    """What the rules of a composite decide."""
    return {
        "targets": [
            {
                "name": t.name,
                "mark": t.place,
                "axes": list(t.axes),
                "index_names": list(t.index_names),
                "token": t.token,
                "reads": [str(n.attr("name")) for n in c.plain.nodes if n.op == "read"],
            }
            for t, c in zip(targets, one.codes, strict=True)
        ],
        "rules": {n.out.name: str(n.rule) for n in one.graph.nodes if n.rule is not None},
        "plan": plan,
    }


def _ledger(one: Lowered) -> dict[str, list[tuple[str, str, str]]]:
    return {c.name: ledger_rows(c.with_ledger) for c in one.codes}
