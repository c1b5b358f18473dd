"""Tensors that are the same for every image, found behind what spread them over the batch."""

from __future__ import annotations

from collections.abc import Mapping

from lrpc.frontend.lowering.context import Context
from lrpc.ir.graph import Value
from lrpc.ir.ops import Trait, with_trait
from lrpc.ir.types import Dim, Sym

Spans = Mapping[int, tuple[int, int]]  # axis → from where to where
_ENTRYWISE = with_trait(Trait.ELEMENTWISE)


def of_one_image(c: Context, x: Value, spans: Spans | None = None) -> Value | None:
    """The part of `x` [B, …] within `spans` that each image has, [1, …]; None where it is not the
    same for all of them, or nothing tells."""
    spans = spans or {}
    node = c.producers.get(x)
    if not any(isinstance(d, Sym) for d in x.type.shape):
        return _sliced(c, x, spans)
    if node is None:
        return None
    if node.op == "full":
        value, dtype = node.attr("value"), x.type.dtype
        return c.op("full", shape=_extents(x, spans), value=value, dtype=dtype)
    if node.op == "expand":
        return _spread(c, x, node.inputs[0], spans)
    if node.op == "slice" and node.attr("step") == 1:
        axis = node.integer("dim") % x.type.rank
        first, last = spans.get(axis, (0, x.type.shape[axis]))
        start = node.integer("start")
        if not isinstance(last, int) or isinstance(x.type.shape[axis], Sym):
            return None
        return of_one_image(c, node.inputs[0], {**spans, axis: (start + first, start + last)})
    if node.op == "cat":
        return _joined(c, node.inputs, node.integer("dim") % x.type.rank, spans)
    if node.op in _ENTRYWISE:
        parts = [part for one in node.inputs if (part := _operand(c, one, x, spans)) is not None]
        whole = len(parts) == len(node.inputs)
        return c.op(node.op, *parts, **dict(node.attrs)) if whole else None
    return None


def _operand(c: Context, one: Value, x: Value, spans: Spans) -> Value | None:
    """An operand of an elementwise operation, within what is asked of its result `x`."""
    before = x.type.rank - one.type.rank
    own = {a - before: s for a, s in spans.items() if a >= before}
    own = {axis: span for axis, span in own.items() if one.type.shape[axis] != 1}
    return of_one_image(c, one, own)


def _spread(c: Context, x: Value, source: Value, spans: Spans) -> Value | None:
    part = _operand(c, source, x, spans)
    return None if part is None else c.expand(part, _extents(x, spans))


def _joined(c: Context, parts: tuple[Value, ...], axis: int, spans: Spans) -> Value | None:
    """What of a concatenation lies within `spans`, if that is in one part."""
    start = 0
    first, last = spans.get(axis, (-1, -1))
    for part in parts:
        size = part.type.shape[axis]
        if not isinstance(size, int):
            return None
        if start <= first < last <= start + size:
            return of_one_image(c, part, {**spans, axis: (first - start, last - start)})
        start += size
    return None


def _sliced(c: Context, x: Value, spans: Spans) -> Value:
    for axis, (first, last) in spans.items():
        if (first, last) != (0, x.type.shape[axis]):
            x = c.slice(x, axis - x.type.rank, first, last)
    return x


def _extents(x: Value, spans: Spans) -> tuple[Dim, ...]:
    """The extents of one image's part of `x`."""
    found: list[Dim] = []
    for axis, size in enumerate(x.type.shape):
        first, last = spans.get(axis, (0, 0))
        found.append(1 if isinstance(size, Sym) else last - first if axis in spans else size)
    return tuple(found)
