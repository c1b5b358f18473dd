"""Cuts a node list into segments: runs that belong to one repeated block, and the glue between
them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


def cut(nodes: Sequence[Node]) -> list[Segment]:
    """Segments in program order; glue between two blocks is one segment."""
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
    return list(_keyed(merged))


def _keyed(runs: Iterable[tuple[str, list[Node]]]) -> Iterable[Segment]:
    seen: dict[str, int] = {}
    for block, run in runs:
        count = seen[block] = seen.get(block, 0) + 1
        key = block if not block or count == 1 else f"{block}#{count}"
        yield Segment(key, block, tuple(run))
