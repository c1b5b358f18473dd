"""Rows that pick entries: indexing, gather, top-k."""

from __future__ import annotations

from typing import Any

import torch

from lrpc.frontend.lowering.advice import FLAT, MASKED
from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.missing import Missing
from lrpc.frontend.lowering.picks import Flat, flat, from_front, from_start, picked, picks_of
from lrpc.frontend.records import Stored
from lrpc.ir.extents import Extent
from lrpc.ir.graph import Value
from lrpc.ir.types import Dim


def getitem(c: Context, x: Operand, index: Operand) -> Operand:
    """`x[index]`: numbers, slices, None, Ellipsis, and tensors along one axis or several."""
    if isinstance(x, tuple):
        return x[index]
    if (rows := _table_rows(c, x, index)) is not None:
        return rows
    return c.reshape(entries(c, c.value(x), index), c.result.shape)


def entries(c: Context, x: Value, index: Operand) -> Value:
    """What an index picks, but for new axes, and with the axes of index tensors as one."""
    picks = picks_of(c, index, x.type.shape)
    part = basic(c, x, picks.plain)
    return _at(c, flat(c, part, picks)) if picks.tensors else part


def _table_rows(c: Context, table: Operand, index: Operand) -> Operand:
    """The rows of a table that whole numbers tell; None where it is no such index."""
    if not isinstance(table, Stored) or table.tensor.dim() != 2 or table.varies:
        return None
    if not isinstance(index, Value) or index.type.dtype == "bool" or not table.type.is_float:
        return None
    return embedding(c, from_front(c, index, table.tensor.shape[0]), table)


def basic(c: Context, x: Value, picks: tuple[Operand, ...]) -> Value:
    """`x` by what is no tensor in an index: axes of numbers go, no new ones come."""
    dim = 0
    kept: list[Dim] = []
    for pick in picks:
        if pick is None:
            continue
        x = picked(c, x, dim - x.type.rank, pick)
        kept += [] if isinstance(pick, int) else [x.type.shape[dim]]
        dim += 1
    return c.reshape(x, tuple(kept))


def _at(c: Context, x: Flat) -> Value:
    """What the index picks, but for the axes that it becomes being one."""
    if c.type(x.index).rank == 1:
        found = taken(c, x.value, x.dim - x.value.type.rank, x.index)
    else:
        rest = x.value.type.shape[2:]
        index = c.value(from_front(c, x.index, c.size(x.value, 1)))
        thin = c.reshape(index, (*index.type.shape, *(1,) * len(rest)))
        wide = c.expand(thin, (*index.type.shape, *rest))
        found = c.op("gather", x.value, wide, dim=1 - x.value.type.rank)
    if x.at == 0 or x.at == x.dim:
        return found
    whole = c.reshape(found, (*x.shape, *found.type.shape[2:]))
    own, rank = len(x.shape), whole.type.rank
    behind = [*range(own, rank)]
    return c.permute(whole, (*behind[: x.at], *range(own), *behind[x.at :]))


def taken(c: Context, x: Value, dim: int, index: Operand) -> Value:
    """The entries of `x` along an axis that an index of one axis picks."""
    if c.type(index).dtype == "bool":
        if not isinstance(index, Stored) or index.tensor.dim() != 1 or index.varies:
            c.refuse("picks by a mask, so that the result's shape depends on the data", MASKED)
        index = c.constant(index.tensor.nonzero().flatten())
    if c.type(index).rank > 1:
        c.refuse("picks by an index tensor that has not one axis", FLAT)
    index = c.reshape(index, (1,)) if c.type(index).rank == 0 else index
    size = c.size(x, dim)
    if isinstance(size, Extent) and not (isinstance(index, Value) and from_start(c, index)):
        if not isinstance(index, Stored) or bool((index.tensor < 0).any()):
            c.refuse("counts from the end of an axis that varies", "count from its start")
    elif isinstance(index, Stored) and not index.varies:
        index = c.constant(index.tensor % size)
        if torch.equal(index.tensor, torch.arange(size)):
            return x
    return c.op("gather", x, along(c, from_front(c, index, size), x.type.shape, dim), dim=dim)


def along(c: Context, index: Operand, shape: tuple[Dim, ...], dim: int) -> Value:
    """An index of one axis along the axis `dim` of a shape, alike on all others."""
    thin: list[Dim] = [1] * len(shape)
    wide = list(shape)
    thin[dim] = wide[dim] = c.type(index).shape[0]
    return c.expand(c.reshape(index, tuple(thin)), tuple(wide))


def index_select(c: Context, x: Operand, dim: int, index: Operand) -> Operand:
    value = c.value(x)
    return taken(c, value, c.axis(dim, value.type.rank), index)


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


def argsort(
    c: Context, x: Operand, dim: int = -1, descending: bool = False, stable: bool = False
) -> Operand:
    """Where the entries in order were, equal ones in the order that they came in."""
    value = c.value(x)
    axis = c.axis(dim, value.type.rank)
    c.size(value, axis)
    value = value if value.type.dtype != "bool" else c.op("cast", value, dtype="i64")
    return c.op("argsort", value, dim=axis, descending=descending)


def sort(
    c: Context, x: Operand, dim: int = -1, descending: bool = False, stable: bool = False
) -> Operand:
    """Values and indices."""
    order = argsort(c, x, dim, descending)
    return c.op("gather", x, order, dim=c.axis(dim, c.type(x).rank)), order


def msort(c: Context, x: Operand) -> Operand:
    return sort(c, x, 0)[0]


def kthvalue(c: Context, x: Operand, k: int, dim: int = -1, keepdim: bool = False) -> Operand:
    """The k-th smallest entry, and where it is."""
    axis = c.axis(dim, c.type(x).rank)
    values, order = sort(c, x, axis)
    found = (c.slice(part, axis, k - 1, k) for part in (values, order))
    types = c.call.type
    assert isinstance(types, tuple)
    value, place = (c.reshape(part, t.shape) for part, t in zip(found, types, strict=True))
    if value.type.is_float:
        return value, place
    return value, Missing(f"{c.call.name} leaves open which of equal numbers it names", "use sort")


def median(c: Context, x: Operand, dim: int | None = None, keepdim: bool = False) -> Operand:
    """The lower of the two in the middle; along an axis with its place."""
    if dim is None:
        value = c.reshape(x, (_count(c, x),))
        middle = c.slice(sort(c, value, 0)[0], -1, *_middle(c, value, -1))
        return c.reshape(middle, ())
    axis = c.axis(dim, c.type(x).rank)
    return kthvalue(c, x, _middle(c, x, axis)[1], dim, keepdim)


def _middle(c: Context, x: Operand, axis: int) -> tuple[int, int]:
    last = (c.size(x, axis) + 1) // 2
    return last - 1, last


def _count(c: Context, x: Operand) -> int:
    count = 1
    for axis in range(c.type(x).rank):
        count *= c.size(x, axis)
    return count


def embedding(
    c: Context, index: Operand, weight: Operand, padding_idx: int | None = None,
    max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Operand:  # fmt: skip
    if max_norm is not None:
        c.refuse("rescales its table (max_norm)", "rescale it before, outside of the model")
    return c.op("embedding", c.cast(index, "i64"), weight=c.weight(weight))


def embedding_bag(
    c: Context, index: Operand, weight: Operand, offsets: Operand = None,
    max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
    mode: str = "mean", sparse: bool = False, per_sample_weights: Operand = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Operand:  # fmt: skip
    """The sum, mean or largest of the rows that each line of an index [B, N] names."""
    if offsets is not None or c.type(index).rank != 2:
        c.refuse("takes bags of other lengths (offsets)", "give an index [B, N], and weights of 0")
    if padding_idx is not None:
        c.refuse("leaves out padding (padding_idx)", "give per_sample_weights of 0 there")
    rows = embedding(c, index, weight, max_norm=max_norm)
    if per_sample_weights is not None:
        shape = (*c.type(index).shape, 1)
        rows = c.op("mul", rows, c.reshape(per_sample_weights, shape))
    op = {"sum": "sum", "mean": "mean", "max": "amax"}[mode]
    return c.op(op, rows, dims=(-2,), keepdim=False)


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
    picks = c.value(from_front(c, picks, c.size(value, axis)))
    return gather(c, c.expand(value, tuple(own)), axis, c.expand(picks, tuple(wide)))


ROWS: dict[str, Any] = {
    "getitem": getitem, "index_select": index_select, "gather": gather,
    "take_along_dim": take_along_dim, "topk": topk, "sort": sort, "argsort": argsort,
    "msort": msort, "kthvalue": kthvalue, "median": median, "embedding": embedding,
    "embedding_bag": embedding_bag,
}  # fmt: skip
