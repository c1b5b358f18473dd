"""Cuts a node list into segments: runs that belong to one repeated block, and the glue between
them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lrpc.ir.blocks import block_of
from lrpc.ir.graph import Node, Value

SMALLEST = 6  # a run of fewer nodes reads better in place than as a function


@dataclass(frozen=True)
class Segment:
    """Consecutive nodes; `key` names the run (its block, unique in the program), "" for glue."""

    key: str
    block: str
    nodes: tuple[Node, ...]

    @property
    def prefix(self) -> str:
        """What weight names of this block start with."""
        return f"{self.block}." if self.block else ""

    def reads(self) -> list[Value]:
        """Values used here but made elsewhere, by first use."""
        made = {v.name for n in self.nodes for v in n.outputs}
        found = {v.name: v for n in self.nodes for v in n.inputs if v.name not in made}
        return list(found.values())

    def made(self) -> list[Value]:
        return [v for n in self.nodes for v in n.outputs]


def cut(nodes: Sequence[Node], repeats: bool = False) -> list[Segment]:
    """Segments in program order; glue between two blocks is one segment.

    With `repeats`, glue that computes the same thing several times (what a model does between two
    decoder layers) gets keys of its own, and so becomes a function as well.
    """
    runs: list[tuple[str, list[Node]]] = []
    for node in nodes:
        block = block_of(node.loc.module)
        if not runs or runs[-1][0] != block:
            runs.append((block, []))
        runs[-1][1].append(node)
    merged: list[tuple[str, list[Node]]] = []
    for block, run in runs:
        block = block if len(run) >= SMALLEST else ""
        if merged and not block and not merged[-1][0]:
            merged[-1][1].extend(run)
        else:
            merged.append((block, list(run)))
    segments = list(_keyed(merged))
    return _name_repeats(segments) if repeats else segments


def _name_repeats(segments: Sequence[Segment]) -> list[Segment]:
    shapes = [_shape(s.nodes) if not s.key and len(s.nodes) >= SMALLEST else None for s in segments]
    counts = Counter(shape for shape in shapes if shape is not None)
    found, number = [], 0
    for segment, shape in zip(segments, shapes, strict=True):
        if shape is not None and counts[shape] > 1:
            number += 1
            segment = replace(segment, key=f"between.{number}")
        found.append(segment)
    return found


def _shape(nodes: Sequence[Node]) -> tuple[object, ...]:
    """What the nodes compute, whatever their values are called."""
    names: dict[str, int] = {}

    def numbers(values: Sequence[Value]) -> tuple[int, ...]:
        return tuple(names.setdefault(v.name, len(names)) for v in values)

    return tuple(
        (n.op, numbers(n.inputs), numbers(n.outputs), n.attrs, n.role, n.rule, n.loc.module)
        for n in nodes
    )


def _keyed(runs: Iterable[tuple[str, list[Node]]]) -> Iterable[Segment]:
    seen: dict[str, int] = {}
    for block, run in runs:
        count = seen[block] = seen.get(block, 0) + 1
        key = block if not block or count == 1 else f"{block}#{count}"
        yield Segment(key, block, tuple(run))
