"""Ops that only the relevance half uses: transposes of linear maps, stabilised ratios, ledger sums.

A relevance tensor has the seeds axis K in front of the axes of the value it belongs to. The
reference of every transpose is autograd through the forward row: it shares nothing with the text
that programs are made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.ir.ops.network import AVERAGE, CONV, CONV_T, MODES, avg_pool2d, interpolate
from lrpc.ir.ops.row import Op
from lrpc.ir.ops.structural import scatter_sum
from lrpc.ir.ops.traits import Family
from lrpc.ir.ops.traits import Trait as T
from lrpc.ir.ops.transposed import no_grad_transpose


def _stab_ratio(z: Tensor, eps: float) -> Tensor:
    wide = z.double()  # half precision has no such small eps
    stabilised = wide + eps * torch.where(z >= 0, 1.0, -1.0).double()
    return torch.where(torch.isinf(z), 1.0, wide / stabilised).to(z.dtype)


def _ratio(a: Tensor, z: Tensor, eps: float) -> Tensor:
    dtype = torch.promote_types(a.dtype, z.dtype)
    stabilised = z.double() + eps * torch.where(z >= 0, 1.0, -1.0).double()
    zero = torch.zeros((), dtype=torch.float64, device=z.device)
    most = torch.finfo(dtype).max
    found = torch.where(stabilised == 0, zero, a.double() / stabilised)
    return found.clamp(-most, most).to(dtype)


def _transposed(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The transpose of a map of [B, C, H, W]; `size` is (C, H, W) of its input."""

    def back(g: Tensor, size: tuple[int, ...], **options: Any) -> Tensor:
        like = torch.empty(g.shape[0], *size, dtype=g.dtype, device=g.device)
        return no_grad_transpose(lambda x: forward(x, **options), like, g)

    return back


def _interpolate_from(g: Tensor, source: tuple[int, ...], mode: str, align_corners: bool) -> Tensor:
    like = torch.empty(*g.shape[:2], *source, dtype=g.dtype, device=g.device)
    size = tuple(g.shape[-2:])
    return no_grad_transpose(lambda x: interpolate(x, size, mode, align_corners), like, g)


def _max_pool_from(g: Tensor, indices: Tensor, size: tuple[int, ...]) -> Tensor:
    flat = torch.zeros(*g.shape[:3], size[0] * size[1], dtype=g.dtype, device=g.device)
    index = indices.expand(g.shape).flatten(-2)
    return torch.unflatten(flat.scatter_add(-1, index, g.flatten(-2)), -1, size)


def _slice_from(g: Tensor, dim: int, start: int, step: int, size: int) -> Tensor:
    shape = list(g.shape)
    shape[dim] = size
    index = start + step * torch.arange(g.shape[dim], device=g.device)
    return torch.zeros(shape, dtype=g.dtype, device=g.device).index_add(dim, index, g)


def _flatten_groups(x: Tensor, groups: int) -> Tensor:
    return x.reshape(x.shape[0], groups, -1)


def _rstd(x: Tensor, eps: float, groups: int) -> Tensor:
    rows = _flatten_groups(x, groups) if groups else x
    return ((rows.double().var(-1, correction=0, keepdim=True) + eps) ** -0.5).to(x.dtype)


def _reciprocal_rms(x: Tensor, eps: float) -> Tensor:
    square = x.double() ** 2
    return ((square.mean(-1, keepdim=True) + eps) ** -0.5).to(x.dtype)


def _layer_norm_from(g: Tensor, rstd: Tensor, weight: Tensor | None = None) -> Tensor:
    scaled = g * rstd if weight is None else g * weight * rstd
    return scaled - scaled.mean(-1, keepdim=True)


def _group_norm_from(g: Tensor, rstd: Tensor, groups: int, weight: Tensor | None = None) -> Tensor:
    shape = (1, 1, -1) + (1,) * (g.dim() - 3)
    scaled = g if weight is None else g * weight.reshape(shape)
    rows = scaled.reshape(*g.shape[:2], groups, -1) * rstd
    return (rows - rows.mean(-1, keepdim=True)).reshape(g.shape)


def _norm_gradient(
    g: Tensor, x: Tensor, groups: int, eps: float, weight: Tensor | None = None
) -> Tensor:
    """The whole Jacobian of LayerNorm (groups = 0) or GroupNorm, transposed; g [K, *x.shape]."""
    if groups:
        shape = (1, 1, -1) + (1,) * (g.dim() - 3)
        g = g if weight is None else g * weight.reshape(shape)
        g, rows = g.reshape(*g.shape[:2], groups, -1), _flatten_groups(x, groups)
    else:
        g, rows = (g if weight is None else g * weight), x
    r = (rows.var(-1, correction=0, keepdim=True) + eps) ** -0.5
    unit = (rows - rows.mean(-1, keepdim=True)) * r
    back = r * (g - g.mean(-1, keepdim=True) - unit * (g * unit).mean(-1, keepdim=True))
    return back.reshape(back.shape[0], *x.shape)


def _softmax_jacobian(s: Tensor, dim: int) -> Tensor:
    rows = s.transpose(dim, -1)
    eye = torch.eye(rows.shape[-1], dtype=s.dtype, device=s.device)
    return rows.unsqueeze(-1) * (eye - rows.unsqueeze(-2))


ROWS = (
    Op("stab_ratio", 1, {"eps": "number"}, _stab_ratio, Family.QUOTIENT,
       T.ALLOCATES | T.ELEMENTWISE | T.MOVABLE),
    Op("stab_mul", 2, {"eps": "number"}, lambda g, z, eps: g * _stab_ratio(z, eps),
       Family.RELEVANCE, T.ALLOCATES | T.ELEMENTWISE),
    Op("ratio", 2, {"eps": "number"}, _ratio, Family.QUOTIENT,
       T.ALLOCATES | T.ELEMENTWISE | T.MOVABLE),
    Op("add_product", 3, {}, lambda a, b, c: a + b * c, Family.RELEVANCE,
       T.ALLOCATES | T.ELEMENTWISE),
    Op("choose", 3, {}, torch.where, Family.RELEVANCE, T.ELEMENTWISE),
    Op("linear_transpose", 1, {"weight": "weight"},
       lambda g, weight: torch.einsum("...o,oi->...i", g, weight), Family.TRANSPOSE, T.ALLOCATES,
       contracted=(0,)),
    Op("conv2d_transpose", 1, {k: v for k, v in CONV.items() if k != "bias"} | {"size": "counts"},
       _transposed(F.conv2d), Family.TRANSPOSE, T.ALLOCATES, contracted=(0,)),
    Op("conv_transpose2d_transpose", 1,
       {k: v for k, v in CONV_T.items() if k != "bias"} | {"size": "counts"},
       _transposed(F.conv_transpose2d), Family.TRANSPOSE, T.ALLOCATES, contracted=(0,)),
    Op("avg_pool2d_transpose", 1, {**AVERAGE, "size": "counts"}, _transposed(avg_pool2d),
       Family.TRANSPOSE, T.ALLOCATES),
    Op("interpolate_transpose", 1, {"source": "counts", "mode": MODES, "align_corners": "bool"},
       _interpolate_from, Family.TRANSPOSE, T.ALLOCATES),
    Op("max_pool2d_transpose", 2, {"size": "counts"}, _max_pool_from, Family.TRANSPOSE,
       T.ALLOCATES),
    Op("gather_transpose", 2, {"dim": "axis", "size": "int"}, scatter_sum, Family.TRANSPOSE,
       T.ALLOCATES),
    Op("slice_transpose", 1, {"dim": "axis", "start": "int", "step": "int", "size": "int"},
       _slice_from, Family.TRANSPOSE, T.ALLOCATES),
    Op("rstd", 1, {"eps": "number", "groups": "int"}, _rstd, Family.QUOTIENT, T.MOVABLE),
    Op("reciprocal_rms", 1, {"eps": "number"}, _reciprocal_rms, Family.QUOTIENT, T.MOVABLE),
    Op("layer_norm_transpose", 2, {"weight": "weight?"}, _layer_norm_from, Family.TRANSPOSE,
       T.ALLOCATES),
    Op("group_norm_transpose", 2, {"weight": "weight?", "groups": "count"}, _group_norm_from,
       Family.TRANSPOSE, T.ALLOCATES),
    Op("norm_gradient", 2, {"weight": "weight?", "groups": "int", "eps": "number"}, _norm_gradient,
       Family.TRANSPOSE, T.ALLOCATES),
    Op("softmax_transpose", 2, {"dim": "axis"},
       lambda g, s, dim: s * (g - (s * g).sum(dim, keepdim=True)), Family.TRANSPOSE, T.ALLOCATES),
    Op("softmax_jacobian", 1, {"dim": "axis"}, _softmax_jacobian, Family.RELEVANCE),
)  # fmt: skip

# Effects: they have no output, and stand for what the program hands out beside its result. A
# `record` books Σ g ⊙ x, nothing where g is 0: x may be −inf there, as masked scores are; with
# `rest`, what that leaves of the row before.
EFFECTS = (
    Op("record", 2,
       {"batch": "int", "negative": "bool", "node": "str", "kind": "str", "fold": "int?",
        "rest": "bool?"},
       lambda g, x, batch, negative, node, kind, fold=1, rest=False: (), Family.EFFECT, outputs=0),
    Op("read", None, {"name": "str"}, lambda *parts, name: (), Family.EFFECT, outputs=0),
)  # fmt: skip
