"""The ledger of an exported graph: its rows as plain operations, and what they are of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from lrpc.backend.interface import ledger_rows
from lrpc.errors import ProgramError
from lrpc.ir.builder import Builder
from lrpc.ir.graph import Graph, Module, Node, Value
from lrpc.ir.types import B, K, whole
from lrpc.runtime.results import Ledger

LEDGER = "ledger"
"""The output that holds the ledger, and the metadata that names its rows."""
TOTALS = (("", "", "start"), ("", "", "end"))
"""The first two rows: what relevance starts with, and what arrives at inputs and boundaries."""

Row = tuple[str, str, str]
"""Node, module path and kind, as in `Ledger.rows`."""


def names_of(graph: Graph, program: Sequence[Sequence[str]]) -> tuple[Row, ...]:
    """The rows of the output of `graph`, which books what the `program` does: its totals, then
    the rows of the program's ledger in their order; ProgramError where it books others."""
    found = ledger_rows(graph)
    if found != [tuple(row) for row in program]:
        raise ProgramError(
            "the ledger of the exported graph has other rows than the program's; compile the"
            " program again"
        )
    totals = {total[2] for total in TOTALS}
    return (*TOTALS, *(row for row in found if row[2] not in totals))


def as_text(rows: Sequence[Row]) -> str:
    """The rows as JSON, a list of [node, module path, kind] as long as the output's first axis."""
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))


def amounts(ledger: Ledger) -> Tensor:
    """A program's ledger in the form of the output, [R, K, B]."""
    return torch.stack([ledger.start, ledger.end, *(row[3] for row in ledger.rows)])


@dataclass(frozen=True)
class Booked:
    """Makes plain operations of the rows that a graph books: Σ g ⊙ x in float64, nothing where g is
    0. They become its last output, `ledger` f64[R, K, B], in the order of `names_of`."""

    name: ClassVar[str] = "booked"

    def run(self, module: Module) -> Module:
        graph = module.graph
        if any(name == LEDGER for name, _ in graph.outputs):
            raise ProgramError(f"two outputs are called {LEDGER!r}; rename that of the model")
        builder = Builder(graph.weight_types, (v.name for v in graph.values()), share=True)
        found: dict[str, list[Value]] = {"start": [], "end": []}
        rows: list[Value] = []
        last: Value | None = None
        for node in graph.nodes:
            if node.op != "record":
                builder.keep(node)
                continue
            last = _amount(builder, node, last)
            found.get(str(node.attr("kind")), rows).append(last)
        totals = [_total(builder, found[kind]) for _, _, kind in TOTALS]
        rows = [builder.one("expand", row, shape=(1, K, B)) for row in (*totals, *rows)]
        ledger = builder.one("cat", *rows, dim=-3)
        outputs = (*graph.outputs, (LEDGER, ledger))
        return module.with_graph(replace(graph, nodes=tuple(builder.nodes), outputs=outputs))


def _total(builder: Builder, parts: Sequence[Value]) -> Value:
    """The sum of rows; 0 where there are none."""
    if not parts:
        return builder.one("full", shape=(1, 1), value=0.0, dtype="f64")
    total, *more = parts
    for part in more:
        total = builder.one("add", total, part)
    return total


def _amount(builder: Builder, node: Node, before: Value | None) -> Value:
    """What a row books, f64[K, B], or f64[K, 1] where it is the same for all images."""
    g, x = node.inputs
    product = builder.one("mul", *(builder.one("cast", v, dtype="f64") for v in (g, x)))
    nothing = builder.one("compare_scalar", g, kind="eq", value=0.0)
    product = builder.one("masked_fill", product, nothing, value=0.0)
    rank, batch = product.type.rank, node.integer("batch")
    if rest := tuple(axis - rank for axis in range(1, rank) if axis != batch):
        product = builder.one("sum", product, dims=rest, keepdim=False)
    amount = builder.one("reshape", product, shape=(K, 1)) if not batch else product
    if node.attr("fold") is not None:
        amount = _unfolded(builder, amount, node.integer("fold"))
    if node.attr("rest"):
        assert before is not None
        return builder.one("sub", before, amount)
    return builder.one("scale", amount, by=-1.0) if node.attr("negative") else amount


def _unfolded(builder: Builder, amount: Value, fold: int) -> Value:
    """The sum of each image's entries on an axis that holds several: `fold` of an image one after
    the other, or `-fold` times all images."""
    shape, axis = ((K, B, fold), -1) if fold > 0 else ((K, whole(-fold), B), -2)
    apart = builder.one("reshape", amount, shape=shape)
    return builder.one("sum", apart, dims=(axis,), keepdim=False)
