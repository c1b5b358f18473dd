"""Rounded numbers, and the places of entries."""

from __future__ import annotations

from collections.abc import Sequence

from lrpc.export.onnx.structural import range_of
from lrpc.export.onnx.writer import Emit, Writer, axis_of
from lrpc.ir.graph import Node

OPERATORS = {"floor": "Floor", "ceil": "Ceil", "round": "Round", "sign": "Sign"}


def _rounded(w: Writer, node: Node, x: Sequence[str]) -> str:
    kind = str(node.attr("kind"))
    if kind == "trunc":
        return w.op("Mul", w.op("Sign", x[0]), w.op("Floor", w.op("Abs", x[0])))
    return w.op(OPERATORS[kind], x[0])


def _argsort(w: Writer, node: Node, x: Sequence[str]) -> str:
    """A top-k of all, which takes the first of equal entries first."""
    axis = axis_of(node)
    count = w.extent(node.inputs[0].type.shape[axis])
    largest = int(bool(node.attr("descending")))
    return w.several("TopK", x[0], count, outputs=2, axis=axis, largest=largest)[1]


def _last_place(w: Writer, node: Node, x: Sequence[str]) -> str:
    """The largest of the places that come to each place, and -1."""
    index, axis = node.inputs[0], axis_of(node)
    rank = index.type.rank
    counted = range_of(w, index.type.shape[axis])
    thin = w.reshape(
        counted, [index.type.shape[axis] if d == axis % rank else 1 for d in range(rank)]
    )
    along = w.op("Expand", thin, w.extents(index.type.shape))
    nowhere = w.op("Expand", w.number(-1, "i64"), w.extents(node.out.type.shape))
    return w.op("ScatterElements", nowhere, x[0], along, axis=axis, reduction="max")


ROWS: dict[str, Emit] = {
    "rounded": _rounded,
    "argsort": _argsort,
    "last_place": _last_place,
}
