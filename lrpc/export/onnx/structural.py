"""What moves, selects, makes and reduces entries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lrpc.export.onnx.writer import Emit, Writer, alike, axis_of
from lrpc.ir.graph import Attr, Node
from lrpc.ir.types import Dim, whole

FIRST = -(2**63)
"""Where a slice that runs backwards ends so that the first entry is in it."""


def dims_of(value: Attr | None) -> tuple[Dim, ...]:
    """An attribute that lists extents."""
    assert isinstance(value, tuple)
    return value  # type: ignore[return-value]


def dim_of(value: Attr | None) -> Dim:
    """An attribute that is an extent."""
    return value  # type: ignore[return-value]


def _permute(w: Writer, node: Node, x: Sequence[str]) -> str:
    rank = node.inputs[0].type.rank
    return w.op("Transpose", x[0], perm=[d % rank for d in node.integers("dims")])


def _slice(w: Writer, node: Node, x: Sequence[str]) -> str:
    start, stop = dim_of(node.attr("start")), dim_of(node.attr("stop"))
    return w.slice(x[0], axis_of(node), start, stop, node.integer("step"))


def _pad(w: Writer, node: Node, x: Sequence[str]) -> str:
    """torch lists the last axis first, ONNX all beginnings and then all ends."""
    given, rank = dims_of(node.attr("pad")), node.inputs[0].type.rank
    before: list[Dim] = [0] * rank
    after: list[Dim] = [0] * rank
    for i in range(len(given) // 2):
        before[rank - 1 - i], after[rank - 1 - i] = given[2 * i], given[2 * i + 1]
    value = w.number(node.number("value"), node.out.type.dtype)
    return w.op("Pad", x[0], w.extents([*before, *after]), value)


def _flip(w: Writer, node: Node, x: Sequence[str]) -> str:
    axes = node.integers("dims")
    starts, ends, steps = ([n] * len(axes) for n in (-1, FIRST, -1))
    return w.op("Slice", x[0], *map(w.integers, (starts, ends, axes, steps)))


def _topk(w: Writer, node: Node, x: Sequence[str]) -> list[str]:
    count = w.extent(dim_of(node.attr("k")))
    return w.several("TopK", x[0], count, outputs=2, axis=axis_of(node))


def _full(w: Writer, node: Node, x: Sequence[str]) -> str:
    value, dtype = node.attr("value"), node.out.type.dtype
    if isinstance(value, float | bool):
        one = w.number(value, dtype)
    else:
        one = w.cast(w.extent(dim_of(value)), "i64", dtype)
    return w.op("Expand", one, w.extents(node.out.type.shape))


def range_of(w: Writer, size: Dim, dtype: str = "i64") -> str:
    """0, 1, … below an extent."""
    stop = w.op("Squeeze", w.extent(size))
    found = w.op("Range", w.number(0, "i64"), stop, w.number(1, "i64"))
    return w.cast(found, "i64", dtype)


def _reduced(op: str) -> Emit:
    def emit(w: Writer, node: Node, x: Sequence[str]) -> str:
        keepdim = bool(node.attr("keepdim"))
        (operand,) = alike(w, node, x)
        return w.reduce(op, operand, node.integers("dims"), keepdim)

    return emit


def _truth(op: str) -> Emit:
    """Any and all: the largest and the smallest of 0 and 1."""

    def emit(w: Writer, node: Node, x: Sequence[str]) -> str:
        truth = w.cast(x[0], node.inputs[0].type.dtype, "bool")
        number = w.cast(truth, "bool", "i32")
        found = w.reduce(op, number, node.integers("dims"), bool(node.attr("keepdim")))
        return w.cast(found, "i32", "bool")

    return emit


def _cumsum(w: Writer, node: Node, x: Sequence[str]) -> str:
    return w.op("CumSum", *alike(w, node, x), w.array(np.array(axis_of(node), np.int64)))


def _gather_transpose(w: Writer, node: Node, x: Sequence[str]) -> str:
    """Adds entries where they came from."""
    g, index = node.inputs
    where = w.op("Expand", x[1], w.extents(g.type.shape)) if index.type != g.type else x[1]
    zeros = w.zeros(node.out.type.shape, g.type.dtype)
    return w.op("ScatterElements", zeros, where, x[0], axis=axis_of(node), reduction="add")


def _slice_transpose(w: Writer, node: Node, x: Sequence[str]) -> str:
    """Zeros around the entries, and between them where the step is larger than 1."""
    g, axis, step = node.inputs[0], axis_of(node), node.integer("step")
    start, size = dim_of(node.attr("start")), dim_of(node.attr("size"))
    count, found = whole(g.type.shape[axis]), x[0]
    if step > 1:  # each entry with zeros behind it, then without the last ones
        apart = [*g.type.shape[: axis + 1], 1, *g.type.shape[axis + 1 :]]
        wide = w.reshape(found, apart)
        zeros = w.zeros([*apart[: axis + 1], step - 1, *apart[axis + 2 :]], g.type.dtype)
        joined = w.op("Concat", wide, zeros, axis=axis + 1)
        long = [*g.type.shape[:axis], count * step, *g.type.shape[axis + 1 :]]
        found = w.slice(w.reshape(joined, long), axis, 0, count * step - (step - 1))
    used = count if step == 1 else count * step - (step - 1)
    rest = w.op("Sub", w.extent(size), w.extent(start))
    after = w.op("Sub", rest, w.extent(used))
    first, last = w.integers([0] * axis), w.integers([0] * (g.type.rank - axis - 1))
    pads = w.op("Concat", first, w.extent(start), last, first, after, last, axis=0)
    return w.op("Pad", found, pads, w.number(0, g.type.dtype))  # of all axes: see `padded`


ROWS: dict[str, Emit] = {
    "reshape": lambda w, node, x: w.reshape(x[0], node.out.type.shape),
    "permute": _permute,
    "expand": lambda w, node, x: w.op("Expand", x[0], w.extents(node.out.type.shape)),
    "cat": lambda w, node, x: w.op("Concat", *alike(w, node, x), axis=axis_of(node)),
    "slice": _slice,
    "pad": _pad,
    "flip": _flip,
    "gather": lambda w, node, x: w.op("GatherElements", *x, axis=axis_of(node)),
    "topk": _topk,
    "constant": lambda w, node, x: w.weight(str(node.attr("weight"))),
    "full": _full,
    "arange": lambda w, node, x: range_of(w, dim_of(node.attr("size")), node.out.type.dtype),
    "sum": _reduced("ReduceSum"),
    "mean": _reduced("ReduceMean"),
    "amax": _reduced("ReduceMax"),
    "amin": _reduced("ReduceMin"),
    "any": _truth("ReduceMax"),
    "all": _truth("ReduceMin"),
    "cumsum": _cumsum,
    "gather_transpose": _gather_transpose,
    "scatter_sum": _gather_transpose,
    "slice_transpose": _slice_transpose,
}
