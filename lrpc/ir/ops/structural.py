"""Ops that move, repeat, select or create entries without computing with them, and reductions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.ir.ops.row import Op
from lrpc.ir.ops.traits import Family, View
from lrpc.ir.ops.traits import Trait as T
from lrpc.ir.types import DTYPES


def _slice(x: Tensor, dim: int, start: int, stop: int, step: int) -> Tensor:
    index = torch.arange(start, stop, step, device=x.device)
    return x.index_select(dim, index)


def _topk(x: Tensor, k: int, dim: int) -> tuple[Tensor, Tensor]:
    values, indices = torch.topk(x, k, dim)
    return values, indices


def scatter_sum(x: Tensor, index: Tensor, dim: int, size: int) -> Tensor:
    """Zeros with `size` entries along an axis, to which those of `x` are added at an index."""
    shape = list(x.shape)
    shape[dim] = size
    zeros = torch.zeros(shape, dtype=x.dtype, device=x.device)
    return zeros.scatter_add(dim, index.expand(x.shape), x)


REDUCE = {"dims": "axes", "keepdim": "bool"}

# The same numbers at other places.
MOVES = T.CHEAP | T.EXACT | T.KEEPS_SIGN
ROWS = (
    Op("reshape", 1, {"shape": "dims"}, lambda x, shape: x.reshape(shape), Family.STRUCTURAL, MOVES,
       view=View.IN_ORDER),
    Op("permute", 1, {"dims": "order"}, lambda x, dims: x.permute(dims), Family.STRUCTURAL, MOVES,
       view=View.PERMUTED),
    Op("expand", 1, {"shape": "dims"}, lambda x, shape: x.expand(shape), Family.STRUCTURAL, MOVES,
       view=View.REPEATED),
    Op("cat", None, {"dim": "axis"}, lambda *xs, dim: torch.cat(xs, dim), Family.STRUCTURAL,
       T.CHEAP | T.KEEPS_SIGN | T.JOINS),
    Op("slice", 1, {"dim": "axis", "start": "int", "stop": "int", "step": "int"}, _slice,
       Family.STRUCTURAL, MOVES, view=View.PART),
    Op("pad", 1, {"pad": "ints", "value": "number"}, F.pad, Family.STRUCTURAL, T.CHEAP),
    Op("flip", 1, {"dims": "axes"}, lambda x, dims: x.flip(dims), Family.STRUCTURAL, MOVES),
    Op("gather", 2, {"dim": "axis"}, lambda x, i, dim: x.gather(dim, i), Family.SELECTION,
       T.EXACT | T.KEEPS_SIGN),
    Op("topk", 1, {"k": "int", "dim": "axis"}, _topk, Family.SELECTION, T.CHOOSES, outputs=2),
    Op("constant", 0, {"weight": "weight"}, lambda weight: weight.clone(), Family.SOURCE,
       T.MOVABLE),
    Op("full", 0, {"shape": "dims", "value": "filling", "dtype": "dtype"},
       lambda shape, value, dtype: torch.full(shape, value, dtype=DTYPES[dtype]), Family.SOURCE,
       T.MOVABLE),
    Op("arange", 0, {"size": "dim", "dtype": "dtype"},
       lambda size, dtype: torch.arange(size, dtype=DTYPES[dtype]), Family.SOURCE, T.MOVABLE),
    Op("sum", 1, REDUCE, lambda x, dims, keepdim: x.sum(dims, keepdim), Family.SCALING,
       T.MOVABLE | T.KEEPS_SIGN),
    Op("mean", 1, REDUCE, lambda x, dims, keepdim: x.mean(dims, keepdim), Family.SCALING,
       T.MOVABLE | T.KEEPS_SIGN),
    Op("amax", 1, REDUCE, lambda x, dims, keepdim: x.amax(dims, keepdim), Family.POOLING,
       T.CHOOSES),
    Op("amin", 1, REDUCE, lambda x, dims, keepdim: x.amin(dims, keepdim), Family.POOLING,
       T.CHOOSES),
    Op("any", 1, REDUCE, lambda x, dims, keepdim: torch.any(x, dims, keepdim), Family.PREDICATE),
    Op("all", 1, REDUCE, lambda x, dims, keepdim: torch.all(x, dims, keepdim), Family.PREDICATE),
    Op("scatter_sum", 2, {"dim": "axis", "size": "int"}, scatter_sum, Family.SCALING,
       T.ALLOCATES | T.KEEPS_SIGN),
    Op("cumsum", 1, {"dim": "axis"}, lambda x, dim: x.cumsum(dim), Family.SCALING),
)  # fmt: skip
