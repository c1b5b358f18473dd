"""Rows that pick entries: indexing, gather, top-k."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from lrpc.frontend.lowering.advice import BY_MASK, BY_WHERE, FLAT, LATER, MASKED, ONE_AXIS
from lrpc.frontend.lowering.context import MOVES, Context, Missing, Operand
from lrpc.frontend.records import ImageNumbers, Stored
from lrpc.ir.extents import Extent, indices
from lrpc.ir.graph import Value
from lrpc.ir.types import Dim, Sym


def getitem(c: Context, x: Operand, index: Operand) -> Operand:
    """`x[index]`: numbers, slices, None, Ellipsis, one index tensor, or one beside the images'."""
    if isinstance(x, tuple):
        return x[index]
    value = c.value(x)
    dim = 0
    picks = _full_index(c, index, value.type.rank)
    if any(isinstance(p, ImageNumbers) for p in picks):
        if any(isinstance(p, (Value, Stored)) for p in picks):
            return _per_image(c, value, picks)
        picks = [slice(None) if _every_image(p, value) else p for p in picks]
    for pick in picks:
        if pick is None:
            continue
        value = _pick(c, value, dim - c.type(x).rank, pick)
        dim += 1
    return c.reshape(value, c.result.shape)


def _per_image(c: Context, x: Value, picks: list[Operand]) -> Value:
    """`x[images, picks]`: entries of each image, by an index that may differ between images."""
    images, index, *rest = picks
    if not _beside(images, index, x) or any(pick != slice(None) for pick in rest):
        what = "indexes images other than by the first axis, beside an index of the second"
        c.refuse(what, ONE_AXIS)
    own = any(isinstance(extent, Sym) for extent in index.type.shape)
    count = math.prod(extent for extent in index.type.shape if isinstance(extent, int))
    if not own:
        flat = c.reshape(index, (count,)) if isinstance(index, Value) else _flat(c, index)
        return c.reshape(_taken(c, x, 1 - x.type.rank, flat), c.result.shape)
    index = _from_front(c, index, c.size(x, 1 - x.type.rank))
    thin = c.reshape(index, (x.type.shape[0], count) + (1,) * (x.type.rank - 2))
    wide = c.expand(thin, (x.type.shape[0], count, *x.type.shape[2:]))
    return c.reshape(c.op("gather", x, wide, dim=1 - x.type.rank), c.result.shape)


def _every_image(pick: Operand, x: Value) -> bool:
    return isinstance(pick, ImageNumbers) and pick.type.shape[0] == x.type.shape[0]


def _beside(images: Operand, index: Operand, x: Value) -> bool:
    """Whether the two index the first two axes, and images stay the first axis of the result."""
    if not _every_image(images, x) or not isinstance(index, (Value, Stored)):
        return False
    rank, shape = len(images.type.shape), index.type.shape
    inner = all(isinstance(extent, int) for extent in shape[1:])
    if len(shape) == rank:
        return inner and shape[0] in (1, images.type.shape[0])
    return len(shape) < rank and inner and all(isinstance(extent, int) for extent in shape[:1])


def _flat(c: Context, index: Stored) -> Stored:
    return c.constant(index.tensor.flatten())


def _full_index(c: Context, index: Operand, rank: int) -> list[Operand]:
    picks = list(index) if isinstance(index, (tuple, list)) else [index]
    picks = [c.constant(torch.tensor(p)) if isinstance(p, (tuple, list)) else p for p in picks]
    if sum(isinstance(p, (Value, Stored)) for p in picks) > 1:
        c.refuse("indexes with several tensors at once", ONE_AXIS)
    taken = sum(p is not None and p is not Ellipsis for p in picks)
    rest = [slice(None)] * (rank - taken)
    at = next((i for i, p in enumerate(picks) if p is Ellipsis), None)
    return picks + rest if at is None else picks[:at] + rest + picks[at + 1 :]


def _pick(c: Context, x: Value, dim: int, pick: Operand) -> Value:
    """One axis of an index; numbers leave an axis of extent 1."""
    extent = x.type.shape[dim]
    if isinstance(pick, slice):
        return _sliced(c, x, dim, pick)
    if isinstance(pick, (Value, Stored)):
        return _taken(c, x, dim, pick)
    if isinstance(extent, Sym):
        c.refuse(f"picks image {pick} out of the batch", LATER)
    start = pick % extent
    return c.slice(x, dim, start, start + 1)


def _sliced(c: Context, x: Value, dim: int, pick: slice) -> Value:
    extent = x.type.shape[dim]
    if isinstance(extent, Sym):
        if pick.step in (None, 1) and pick.start in (None, 0) and pick.stop in (None, extent):
            return x
        c.refuse("picks images out of the batch", LATER)
    start, stop, step = indices(pick, extent)
    return c.slice(x, dim, start, max(stop, start), step)


def _taken(c: Context, x: Value, dim: int, index: Operand) -> Value:
    if c.type(index).dtype == "bool":
        if not isinstance(index, Stored) or index.tensor.dim() != 1 or index.varies:
            c.refuse("picks by a mask, so that the result's shape depends on the data", MASKED)
        index = c.constant(index.tensor.nonzero().flatten())
    if c.type(index).rank != 1:
        c.refuse("picks by an index tensor that has not one axis", FLAT)
    size = c.size(x, dim)
    if isinstance(size, Extent) and not (isinstance(index, Value) and _from_start(c, index)):
        if not isinstance(index, Stored) or bool((index.tensor < 0).any()):
            c.refuse("counts from the end of an axis that varies", "count from its start")
    elif isinstance(index, Stored) and not index.varies:
        index = c.constant(index.tensor % size)
        if torch.equal(index.tensor, torch.arange(size)):
            return x
    shape: list[Dim] = [1] * x.type.rank
    shape[dim] = c.type(index).shape[0]
    full = list(x.type.shape)
    full[dim] = shape[dim]
    spread = c.expand(c.reshape(_from_front(c, index, size), tuple(shape)), tuple(full))
    return c.op("gather", x, spread, dim=dim)


def _from_front(c: Context, index: Operand, size: int) -> Operand:
    """Indices that may count from the end (−1 is the last), counted from the front."""
    index = c.cast(index, "i64")
    if isinstance(index, Stored) and isinstance(size, Extent):
        return index
    if isinstance(index, Stored):
        return replace(index, name="", tensor=index.tensor % size)
    if _from_start(c, index):
        return index
    below = c.op("compare", index, c.constant(torch.tensor(0)), kind="lt")
    return c.op("where", below, c.op("add", index, c.constant(torch.tensor(size))), index)


def _from_start(c: Context, index: Value) -> bool:
    """Whether indices are counted, or come from a top-k, which gives none below 0."""
    node = c.producers.get(index)
    while node is not None and node.op in MOVES and node.inputs:
        node = c.producers.get(node.inputs[0])
    return node is not None and node.op in ("topk", "arange")


def index_select(c: Context, x: Operand, dim: int, index: Operand) -> Operand:
    value = c.value(x)
    return _taken(c, value, c.axis(dim, value.type.rank), index)


def gather(
    c: Context, x: Operand, dim: int, index: Operand, *, sparse_grad: bool = False
) -> Operand:
    """`gather`, whose index may be smaller than `x` on the other axes."""
    value, picks = c.value(x), c.value(index)
    axis = c.axis(dim, value.type.rank)
    c.size(value, axis)
    for d in range(-value.type.rank, 0):
        if d != axis and value.type.shape[d] != picks.type.shape[d]:
            c.size(value, d)
            value = c.slice(value, d, 0, c.size(picks, d))
    return c.op("gather", value, picks, dim=axis)


def topk(
    c: Context, x: Operand, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Operand:
    axis = c.axis(dim, c.type(x).rank)
    c.size(x, axis)
    values, indices = c.ops("topk", x if largest else c.op("scale", x, by=-1), k=k, dim=axis)
    return (values if largest else c.op("scale", values, by=-1)), indices


def sort(
    c: Context, x: Operand, dim: int = -1, descending: bool = False, stable: bool = False
) -> Operand:
    """Values and indices, equal whole numbers in the order that they came in."""
    value = c.value(x)
    axis = c.axis(dim, value.type.rank)
    size = c.counted(value, axis)
    if value.type.is_float:
        values = topk(c, value, size, axis, largest=descending)[0]
        return values, Missing("sort leaves open which of equal numbers comes first", "use topk")
    key = c.op("scale", c.cast(value, "i64"), by=size if descending else -size)
    later = torch.arange(size).flip(0).reshape(-1, *(1,) * (-1 - axis))
    order = c.ops("topk", c.op("add", key, c.constant(later)), k=size, dim=axis)[1]
    return c.op("gather", value, order, dim=axis), order


def setitem(c: Context, x: Operand, index: Operand, value: Operand) -> Operand:
    """`x[index] = value` for numbers and slices: what `x` is afterwards."""
    base = c.value(x)
    picks = _full_index(c, index, base.type.rank)
    if None in picks or any(isinstance(p, (Value, Stored)) for p in picks):
        return _set_masked(c, base, picks, value)
    ranges = [_range(c, base, d, p) for d, p in enumerate(picks)]
    kept = tuple(
        1 if isinstance(p, int) else base.type.shape[d] if r is None else r[1] - r[0]
        for d, (p, r) in enumerate(zip(picks, ranges, strict=True))
    )
    return _put(c, base, ranges, _filling(c, value, base, picks, kept))


def _set_masked(c: Context, base: Value, picks: list[Operand], value: Operand) -> Value:
    mask = picks[0]
    if (
        not isinstance(mask, (Value, Stored))
        or mask.type.dtype != "bool"
        or (mask.type.shape != base.type.shape[: mask.type.rank])
    ):
        c.refuse("writes to places picked by index tensors", BY_MASK)
    wide = c.reshape(mask, mask.type.shape + (1,) * (base.type.rank - mask.type.rank))
    if not isinstance(value, (bool, int, float)):
        c.refuse("writes a tensor to places picked by a mask", BY_WHERE)
    return c.op("masked_fill", base, wide, value=value)


def _range(c: Context, base: Value, dim: int, pick: Operand) -> tuple[int, int] | None:
    """Where a slice or number starts and ends; None for the whole of an axis."""
    extent = base.type.shape[dim]
    if isinstance(extent, Sym):
        if pick in (slice(None), slice(0, extent), slice(None, extent)):
            return None
        c.refuse("writes to some images of the batch", "compute the same for every image")
    if isinstance(pick, int):
        return (pick % extent, pick % extent + 1)
    start, stop, step = indices(pick, extent)
    if step != 1:
        c.refuse("writes to a slice with a step", BY_MASK)
    return None if (start, stop) == (0, extent) else (start, max(start, stop))


def _filling(
    c: Context, value: Operand, base: Value, picks: list[Operand], kept: tuple[Dim, ...]
) -> Value:
    if isinstance(value, (bool, int, float)):
        return c.op("full", shape=kept, value=value, dtype=base.type.dtype)
    value = c.value(c.cast(value, base.type.dtype))
    dropped = [d for d, p in enumerate(picks) if isinstance(p, int)]
    plain = tuple(e for d, e in enumerate(kept) if d not in dropped)
    return c.reshape(c.expand(value, plain), kept)


def _put(c: Context, base: Value, ranges: list[tuple[int, int] | None], filling: Value) -> Value:
    """`base` with the box that `ranges` spans replaced: one axis at a time, innermost last."""
    at = next((d for d, r in enumerate(ranges) if r is not None), None)
    if at is None:
        return filling
    dim, span = at - base.type.rank, ranges[at]
    assert span is not None
    start, stop = span
    inner = c.slice(base, dim, start, stop)
    middle = _put(c, inner, [None if d == at else r for d, r in enumerate(ranges)], filling)
    size = c.size(base, dim)
    ends = [(0, start), (stop, size)]
    before, after = ([c.slice(base, dim, a, b)] if b > a else [] for a, b in ends)
    parts = [*before, middle, *after]
    return c.op("cat", *parts, dim=dim) if len(parts) > 1 else middle


def embedding(
    c: Context, index: Operand, weight: Operand, padding_idx: int | None = None,
    max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Operand:  # fmt: skip
    if max_norm is not None:
        c.refuse("rescales its table (max_norm)", "rescale it before, outside of the model")
    return c.op("embedding", c.cast(index, "i64"), weight=c.weight(weight))


def torch_embedding(
    c: Context, weight: Operand, indices: Operand, padding_idx: int = -1,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Operand:  # fmt: skip
    return embedding(c, indices, weight)


def take_along_dim(c: Context, x: Operand, indices: Operand, dim: int | None = None) -> Operand:
    """`gather`, with `x` and the indices broadcast against each other on the other axes."""
    if dim is None:
        c.refuse("picks from the flattened tensor", "give dim")
    value, picks = c.value(x), c.value(indices)
    axis = c.axis(dim, value.type.rank)
    own, wide = list(c.result.shape), list(c.result.shape)
    own[axis], wide[axis] = value.type.shape[axis], picks.type.shape[axis]
    picks = c.value(_from_front(c, picks, c.size(value, axis)))
    return gather(c, c.expand(value, tuple(own)), axis, c.expand(picks, tuple(wide)))


ROWS: dict[str, Any] = {
    "getitem": getitem, "setitem": setitem, "index_select": index_select, "gather": gather,
    "take_along_dim": take_along_dim, "topk": topk, "sort": sort, "embedding": embedding,
}  # fmt: skip
