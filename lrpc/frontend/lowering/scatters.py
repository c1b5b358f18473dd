"""Rows that put entries where an index tells: copied, added or averaged."""

from __future__ import annotations

from typing import Any

from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.writes import last_place, one_number, placed, setitem, written
from lrpc.frontend.records import Stored
from lrpc.ir.graph import Value
from lrpc.ir.types import Dim


def index_add(
    c: Context, x: Operand, dim: int, index: Operand, source: Operand, *, alpha: float = 1
) -> Operand:
    value, new = c.value(x), c.value(c.cast(source, c.type(x).dtype))
    axis = c.axis(dim, value.type.rank)
    new = new if alpha == 1 else c.op("scale", new, by=alpha)
    return placed(c, value, axis, _one_axis(c, index), new, add=True)


def index_copy(c: Context, x: Operand, dim: int, index: Operand, source: Operand) -> Operand:
    value = c.value(x)
    axis = c.axis(dim, value.type.rank)
    return placed(c, value, axis, _one_axis(c, index), c.value(source))


def index_fill(c: Context, x: Operand, dim: int, index: Operand, value: Operand) -> Operand:
    base = c.value(x)
    axis, index = c.axis(dim, base.type.rank), _one_axis(c, index)
    if (number := one_number(c, value)) is not None:
        return placed(c, base, axis, index, number)
    shape = list(base.type.shape)
    shape[axis] = c.type(index).shape[0]
    return placed(c, base, axis, index, c.expand(c.cast(value, base.type.dtype), tuple(shape)))


def _one_axis(c: Context, index: Operand) -> Operand:
    return c.reshape(index, (1,)) if c.type(index).rank == 0 else index


def index_put(
    c: Context, x: Operand, indices: Operand, values: Operand, accumulate: bool = False
) -> Operand:
    picks = tuple(slice(None) if p is None else p for p in indices)
    return written(c, c.value(x), picks, values, add=accumulate)


def scatter(
    c: Context, x: Operand, dim: int, index: Operand, src: Operand = None, *,
    value: Operand = None, reduce: str | None = None,
) -> Operand:  # fmt: skip
    """`scatter` of a tensor or a number, whose index may be smaller than both on all axes."""
    if reduce is not None:
        c.refuse(f"combines by {reduce}", "use scatter_add, or scatter_reduce with sum or mean")
    base, new = c.value(x), value if src is None else src
    axis, picks = c.axis(dim, base.type.rank), c.value(index)
    c.size(base, axis)
    c.size(picks, axis)
    last = _scattered_last(c, index, picks, axis, c.size(base, axis))
    shown = _padded(c, last, base.type.shape, axis, -1)
    there = c.op("compare_scalar", shown, kind="ge", value=0)
    if (number := one_number(c, new)) is not None:
        return c.op("masked_fill", base, there, value=number)
    part = _cut(c, c.value(c.cast(new, base.type.dtype)), picks.type.shape)
    found = c.op("gather", part, c.op("clamp", last, min=0), dim=axis)
    return c.op("where", there, _padded(c, found, base.type.shape, axis, 0.0), base)


def _scattered_last(c: Context, index: Operand, picks: Value, axis: int, size: int) -> Value:
    if isinstance(index, Stored) and not index.varies:
        return c.value(c.constant(last_place(index.tensor, axis, size)))
    return c.op("last_place", picks, dim=axis, size=size)


def _cut(c: Context, x: Value, shape: tuple[Dim, ...]) -> Value:
    """The first entries of `x` along all axes."""
    for d in range(-len(shape), 0):
        if x.type.shape[d] != shape[d]:
            x = c.slice(x, d, 0, c.fixed(shape[d]))
    return x


def _padded(c: Context, x: Value, shape: tuple[Dim, ...], axis: int, value: float) -> Value:
    """`x` in a shape that is larger on other axes than `axis`, with a number behind it."""
    pad: list[int] = []
    for d in range(-1, -len(shape) - 1, -1):
        more = 0 if d == axis or x.type.shape[d] == shape[d] else c.fixed(shape[d]) - c.size(x, d)
        pad += [0, more]
    while pad and not pad[-1]:
        pad.pop()
    return c.op("pad", x, pad=tuple(pad), value=value) if pad else x


def scatter_add(c: Context, x: Operand, dim: int, index: Operand, src: Operand) -> Operand:
    base, picks = c.value(x), c.value(index)
    axis = c.axis(dim, base.type.rank)
    total = _scattered_sum(c, base, axis, picks, src)
    return total if c.everywhere(base) == 0 else c.op("add", base, total)


def _scattered_sum(c: Context, base: Value, axis: int, picks: Value, src: Operand) -> Value:
    c.size(picks, axis)
    part = _cut(c, c.value(c.cast(src, base.type.dtype)), picks.type.shape)
    total = c.op("scatter_sum", part, picks, dim=axis, size=c.size(base, axis))
    return _padded(c, total, base.type.shape, axis, 0.0)


def scatter_reduce(
    c: Context, x: Operand, dim: int, index: Operand, src: Operand, reduce: str, *,
    include_self: bool = True,
) -> Operand:  # fmt: skip
    """Sums and means of what goes to one place."""
    if reduce not in ("sum", "mean"):
        c.refuse(f"by {reduce} has no rule yet", "sum and mean have one")
    base, picks = c.value(x), c.value(index)
    axis = c.axis(dim, base.type.rank)
    total = _scattered_sum(c, base, axis, picks, src)
    ones = c.op("full", shape=picks.type.shape, value=1.0, dtype=base.type.dtype)
    counts = _scattered_sum(c, base, axis, picks, ones)
    if include_self:
        total, counts = c.op("add", base, total), c.op("shift", counts, by=1.0)
    if reduce == "mean":
        total = c.op("div", total, c.op("clamp", counts, min=1.0))
    if include_self:
        return total
    return c.op("where", c.op("compare_scalar", counts, kind="gt", value=0), total, base)


def select_scatter(c: Context, x: Operand, src: Operand, dim: int, index: int) -> Operand:
    base = c.value(x)
    return setitem(c, base, (*[slice(None)] * (dim % base.type.rank), index), src)


def slice_scatter(
    c: Context, x: Operand, src: Operand, dim: int = 0, start: int | None = None,
    end: int | None = None, step: int = 1,
) -> Operand:  # fmt: skip
    base = c.value(x)
    return setitem(c, base, (*[slice(None)] * (dim % base.type.rank), slice(start, end, step)), src)


ROWS: dict[str, Any] = {
    "setitem": setitem, "index_add": index_add, "index_copy": index_copy,
    "index_fill": index_fill, "index_put": index_put, "scatter": scatter,
    "scatter_add": scatter_add, "scatter_reduce": scatter_reduce,
    "select_scatter": select_scatter, "slice_scatter": slice_scatter,
}  # fmt: skip
