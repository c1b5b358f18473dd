"""Rows that write into part of a tensor: what it is afterwards."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lrpc.frontend.layout import Layout
from lrpc.frontend.lowering.advice import BY_WHERE
from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.indexing import along, basic
from lrpc.frontend.lowering.picks import Flat, Picks, count_of, flat, from_front, picks_of
from lrpc.frontend.records import Stored
from lrpc.ir.extents import Extent, indices
from lrpc.ir.graph import Value
from lrpc.ir.types import Dim, Sym


def setitem(c: Context, x: Operand, index: Operand, value: Operand) -> Operand:
    """`x[index] = value` for numbers, slices, None, masks and tensors."""
    return written(c, c.value(x), index, value)


def written(c: Context, base: Value, index: Operand, value: Operand, add: bool = False) -> Value:
    """`base` with `value` at an index, or added there."""
    if (at := _mask_at(index)) is not None:
        return _masked(c, base, index, at, value)
    picks = picks_of(c, index, base.type.shape)
    part = basic(c, base, picks.plain)
    if picks.tensors:
        new = _at_tensors(c, part, picks, value, add)
    else:
        new = _filling(c, value, part, picks.plain)
        new = c.op("add", part, new) if add else new
    whole = [pick for pick in picks.plain if pick is not None]
    return _put(c, base, whole, new)


def _mask_at(index: Operand) -> int | None:
    """Where in an index a mask stands that depends on the inputs or differs between images."""
    for i, pick in enumerate(index if isinstance(index, tuple) else (index,)):
        traced = isinstance(pick, Value) or (isinstance(pick, Stored) and pick.varies)
        if traced and pick.type.dtype == "bool":
            return i
    return None


def _masked(c: Context, base: Value, index: Operand, at: int, value: Operand) -> Value:
    picks = list(index) if isinstance(index, tuple) else [index]
    mask = c.value(picks[at])
    if any(isinstance(p, (Value, Stored)) for i, p in enumerate(picks) if i != at):
        c.refuse("picks by a mask beside an index tensor", BY_WHERE)
    axes = [slice(None)] * mask.type.rank
    plain = picks_of(c, (*picks[:at], *axes, *picks[at + 1 :]), base.type.shape).plain
    part = basic(c, base, plain)
    front = plain[: _place(picks, at, plain)]
    before = sum(p is not None and not isinstance(p, int) for p in front)
    rest = part.type.rank - before - mask.type.rank
    wide = c.reshape(mask, (*(1,) * before, *mask.type.shape, *(1,) * rest))
    if (number := one_number(c, value)) is not None:
        new = c.op("masked_fill", part, wide, value=number)
    else:
        own = c.type(value).shape
        if before or len(own) > rest + 1 or (len(own) == rest + 1 and own[0] != 1):
            c.refuse("writes as many entries as a mask picks", BY_WHERE)
        thin = c.reshape(c.cast(value, base.type.dtype), own[len(own) - rest :] if rest else ())
        new = c.op("where", wide, thin, part)
    return _put(c, base, [pick for pick in plain if pick is not None], new)


def _place(picks: list[Operand], at: int, plain: tuple[Operand, ...]) -> int:
    """Where in `plain` the axes of the mask begin, which stands at `at` in the index."""
    behind = len(picks) - at - 1
    dots = any(p is Ellipsis for p in picks[:at])
    return len(plain) - behind - picks[at].type.rank if dots else at


def one_number(c: Context, value: Operand) -> float | int | bool | None:
    if isinstance(value, Stored) and value.type.rank == 0 and not value.name:
        return value.uniform
    if isinstance(value, Value) and value.type.rank == 0:
        return c.everywhere(value)
    plain = isinstance(value, (bool, int, float)) and not isinstance(value, Extent)
    return value if plain else None


def _filling(c: Context, value: Operand, part: Value, picks: tuple[Operand, ...]) -> Value:
    """`value` in the shape of the part that it replaces."""
    shape, dtype = part.type.shape, part.type.dtype
    if isinstance(value, (bool, int, float)) and not isinstance(value, Extent):
        return c.op("full", shape=shape, value=value, dtype=dtype)
    given = c.value(c.cast(value, dtype))
    wide: list[Dim] = []
    kept = iter(shape)
    for pick in picks:
        if not isinstance(pick, int) or isinstance(pick, bool):
            wide.append(1 if pick is None else next(kept))
    own = given.type.shape
    own = own[len(own) - len(wide) :] if len(own) > len(wide) else own
    return c.reshape(c.expand(c.reshape(given, own), tuple(wide)), shape)


# A box of numbers and slices.


def _put(c: Context, base: Value, picks: list[Operand], new: Value) -> Value:
    """`base` with the box that `picks` span replaced: one axis at a time, innermost last."""
    spans = [_span(c, base, d, p) for d, p in enumerate(picks)]
    shape = tuple(
        1 if isinstance(p, int) else base.type.shape[d] if s is None else len(range(*s))
        for d, (p, s) in enumerate(zip(picks, spans, strict=True))
    )
    return _boxed(c, base, spans, c.reshape(new, shape) if new.type.rank != len(shape) else new)


Span = tuple[int, int, int] | None


def _span(c: Context, base: Value, dim: int, pick: Operand) -> Span:
    """Where a slice or number starts and ends, and its step; None for the whole of an axis."""
    extent = base.type.shape[dim]
    if isinstance(extent, Sym):
        if pick in (slice(None), slice(0, extent), slice(None, extent)):
            return None
        c.refuse("writes to some images of the batch", "compute the same for every image")
    if isinstance(pick, int):
        return (pick % extent, pick % extent + 1, 1)
    start, stop, step = indices(pick, extent)
    return None if (start, stop, step) == (0, extent, 1) else (start, max(start, stop), step)


def _boxed(c: Context, base: Value, spans: list[Span], new: Value) -> Value:
    at = next((d for d, span in enumerate(spans) if span is not None), None)
    if at is None:
        return new
    dim, span = at - base.type.rank, spans[at]
    assert span is not None
    start, stop, step = span
    left = [None if d == at else s for d, s in enumerate(spans)]
    if step > 1:
        places = torch.arange(start, stop, step)
        inner = c.slice(base, dim, start, stop, step)
        middle = _boxed(c, inner, left, new)
        return placed(c, base, dim, c.constant(places), middle)
    middle = _boxed(c, c.slice(base, dim, start, stop), left, new)
    size = c.size(base, dim)
    ends = [(0, start), (stop, size)]
    before, after = ([c.slice(base, dim, a, b)] if b > a else [] for a, b in ends)
    parts = [*before, middle, *after]
    return c.op("cat", *parts, dim=dim) if len(parts) > 1 else middle


# Places that index tensors tell.


def _at_tensors(c: Context, part: Value, picks: Picks, value: Operand, add: bool) -> Value:
    """`part` with `value` at the places that tensors pick, or added there."""
    lies = flat(c, part, picks)
    number = None if add else one_number(c, value)
    new: Operand = number
    if number is None:
        new = _as_picked(c, c.value(c.cast(value, part.type.dtype)), lies)
    dim = lies.dim - lies.value.type.rank
    found = placed(c, lies.value, dim, lies.index, new, add)
    shape = [part.type.shape[axis] for axis in lies.order]
    whole = c.reshape(found, tuple(shape))
    back = sorted(range(len(lies.order)), key=lambda i: lies.order[i])
    return c.permute(whole, tuple(back))


def _as_picked(c: Context, value: Value, lies: Flat) -> Value:
    """`value` broadcast to what the index picks, its axes as in `lies`."""
    rest = lies.rest[1:] if lies.images else lies.rest
    wide = (*rest[: lies.at], *lies.shape, *rest[lies.at :])
    spread = _broadcast(c, value, wide)
    if not lies.images:
        return c.reshape(spread, (*rest[: lies.at], count_of(lies.shape), *rest[lies.at :]))
    behind = lies.at + len(lies.shape)
    order = (*range(lies.at, behind), *range(lies.at), *range(behind, len(wide)))
    turned = c.permute(spread, order)
    return c.reshape(turned, (lies.shape[0], count_of(lies.shape[1:]), *rest))


def _broadcast(c: Context, value: Value, shape: tuple[Dim, ...]) -> Value:
    own = value.type.shape
    if len(own) > len(shape):
        value = c.reshape(value, own[len(own) - len(shape) :])
    return c.expand(value, shape)


def placed(
    c: Context, base: Value, dim: int, index: Operand, new: Operand, add: bool = False
) -> Value:
    """`base` with `new` at the indices along an axis, the last where one comes twice, or added."""
    size = c.counted(base, dim) if isinstance(index, Stored) else c.size(base, dim)
    index = from_front(c, index, size)
    c.size(index, -1)
    if add:
        return _added(c, base, dim, _over(c, index, new.type.shape, dim), new)
    last = _last(c, index, size)
    shown = _over(c, last, base.type.shape, dim)
    there = c.op("compare_scalar", shown, kind="ge", value=0)
    if not isinstance(new, Value):
        return c.op("masked_fill", base, there, value=new)
    found = c.op("gather", new, c.op("clamp", shown, min=0), dim=dim)
    return c.op("where", there, found, base)


def _over(c: Context, index: Operand, shape: tuple[Dim, ...], dim: int) -> Value:
    """An index of one axis, or of the images' and one, on all axes of a shape."""
    if c.type(index).rank == 1:
        return along(c, index, shape, dim)
    own = c.type(index).shape
    rest = shape[2:]
    thin = c.reshape(index, (*own, *(1,) * len(rest)))
    return c.expand(thin, (shape[0], own[1], *rest))


def _last(c: Context, index: Operand, size: int) -> Operand:
    """For each place below `size` where in the last axis of an index it comes last, or −1."""
    if isinstance(index, Stored) and not index.varies:
        return c.constant(last_place(index.tensor, -1, size))
    return c.op("last_place", index, dim=-1, size=size)


def last_place(index: Tensor, dim: int, size: int) -> Tensor:
    """For each place below `size` where along an axis of an index it comes last, or −1."""
    shape = list(index.shape)
    shape[dim] = size
    counts = torch.arange(index.shape[dim]).reshape(-1, *(1,) * (-1 - dim)).expand(index.shape)
    return torch.full(shape, -1).scatter_reduce(dim, index, counts, "amax")


def _added(c: Context, base: Value, dim: int, index: Value, new: Value) -> Value:
    total = c.op("scatter_sum", new, index, dim=dim, size=base.type.shape[dim])
    return total if c.everywhere(base) == 0 else c.op("add", base, total)


def put_back(c: Context, base: Value, lies: Layout, part: Value) -> Value:
    """`base` with what a view of it shows, which lies so, replaced by `part`."""
    shape = [d for d in part.type.shape if d != 1]
    thin = c.reshape(part, tuple(shape))
    back = sorted(range(len(lies.order)), key=lambda i: lies.order[i])
    turned = c.permute(thin, tuple(back))
    kept = iter(turned.type.shape)
    sizes = [
        next(kept) if isinstance(pick, slice) else 1 for pick in lies.picks
    ]  # numbers are axes of one entry
    return _put(c, base, [*lies.picks], c.reshape(turned, tuple(sizes)))


ROWS: dict[str, Any] = {"setitem": setitem}
