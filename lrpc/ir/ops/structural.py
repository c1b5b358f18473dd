"""Ops that move, repeat, select or create entries without computing with them, and reductions."""

from __future__ import annotations

import torch
from torch import Tensor

from lrpc.ir.ops.row import Op
from lrpc.ir.types import DTYPES


def _slice(x: Tensor, dim: int, start: int, stop: int, step: int) -> Tensor:
    index = torch.arange(start, stop, step, device=x.device)
    return x.index_select(dim, index)


def _pad(x: Tensor, pad: tuple[int, ...], value: float) -> Tensor:
    return torch.nn.functional.pad(x, pad, value=value)


def _topk(x: Tensor, k: int, dim: int) -> tuple[Tensor, Tensor]:
    values, indices = torch.topk(x, k, dim)
    return values, indices


def _full(shape: tuple[int, ...], value: float, dtype: str) -> Tensor:
    return torch.full(shape, value, dtype=DTYPES[dtype])


REDUCE = {"dims": "axes", "keepdim": "bool"}

ROWS = (
    Op("reshape", 1, {"shape": "dims"}, lambda x, shape: x.reshape(shape), "{0}.reshape({shape})"),
    Op("permute", 1, {"dims": "axes"}, lambda x, dims: x.permute(dims), "{0}.permute({dims})"),
    Op("expand", 1, {"shape": "dims"}, lambda x, shape: x.expand(shape), "{0}.expand({shape})"),
    Op(
        "cat",
        None,
        {"dim": "axis"},
        lambda *xs, dim: torch.cat(xs, dim),
        "torch.cat([{inputs}], {dim})",
    ),
    Op(
        "slice",
        1,
        {"dim": "axis", "start": "int", "stop": "int", "step": "int"},
        _slice,
        "{0}[{slice}]",
    ),
    Op("pad", 1, {"pad": "ints", "value": "number"}, _pad, "F.pad({0}, {pad}, value={value})"),
    Op("flip", 1, {"dims": "axes"}, lambda x, dims: x.flip(dims), "{0}.flip({dims})"),
    Op("gather", 2, {"dim": "axis"}, lambda x, i, dim: x.gather(dim, i), "{0}.gather({dim}, {1})"),
    Op("topk", 1, {"k": "int", "dim": "axis"}, _topk, "torch.topk({0}, {k}, {dim})", outputs=2),
    Op("constant", 0, {"weight": "weight"}, lambda weight: weight.clone(), "{weight}"),
    Op(
        "full",
        0,
        {"shape": "dims", "value": "number", "dtype": "dtype"},
        _full,
        "torch.full({shape}, {value}, dtype={dtype}, device=device)",
    ),
    Op(
        "sum",
        1,
        REDUCE,
        lambda x, dims, keepdim: x.sum(dims, keepdim),
        "{0}.sum({dims}, {keepdim})",
    ),
    Op(
        "mean",
        1,
        REDUCE,
        lambda x, dims, keepdim: x.mean(dims, keepdim),
        "{0}.mean({dims}, {keepdim})",
    ),
    Op(
        "amax",
        1,
        REDUCE,
        lambda x, dims, keepdim: x.amax(dims, keepdim),
        "{0}.amax({dims}, {keepdim})",
    ),
    Op(
        "amin",
        1,
        REDUCE,
        lambda x, dims, keepdim: x.amin(dims, keepdim),
        "{0}.amin({dims}, {keepdim})",
    ),
    Op(
        "any",
        1,
        REDUCE,
        lambda x, dims, keepdim: torch.any(x, dims, keepdim),
        "torch.any({0}, {dims}, {keepdim})",
    ),
    Op(
        "all",
        1,
        REDUCE,
        lambda x, dims, keepdim: torch.all(x, dims, keepdim),
        "torch.all({0}, {dims}, {keepdim})",
    ),
    Op("cumsum", 1, {"dim": "axis"}, lambda x, dim: x.cumsum(dim), "{0}.cumsum({dim})"),
)
