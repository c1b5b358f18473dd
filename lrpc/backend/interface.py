"""What a program is made from: the code of its targets, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lrpc.ir.graph import Graph, Value


@dataclass(frozen=True)
class TargetCode:
    """One target under one composite: its value, its joint graphs without and with ledger, and how
    `at` indexes it. `composite` is empty where a program has one. `conditions` are the masks that
    its relevance takes before the seed, by name, each with those of its axes that are not 1."""

    name: str
    value: Value
    plain: Graph
    with_ledger: Graph
    index_axes: tuple[int, ...]
    index_names: tuple[str, ...]
    token_axis: int | None
    composite: str = ""
    conditions: Mapping[str, tuple[Value, tuple[int, ...]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """What the program says of itself and how it presents the model.

    Relevance computes the segments named in `recomputed` anew, but for what they keep. With
    `per_pass`, so many seeds go from one segment to the next together, and `chunk` at a time
    through each; else `chunk` all the way.
    """

    name: str
    structure: object
    read_inputs: Mapping[str, str]
    notes: tuple[str, ...] = ()
    tf32: bool = False
    chunk: int = 8
    recomputed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    per_pass: int = 0


def ledger_rows(graph: Graph) -> list[tuple[str, str, str]]:
    """(node, module path, kind) of every ledger row, in the order the program appends them."""
    return [
        (str(n.attr("node")), n.loc.module, str(n.attr("kind")))
        for n in graph.nodes
        if n.op == "record"
    ]
