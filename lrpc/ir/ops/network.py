"""Layers: linear maps, normalisation, softmax, pooling, and attention before expansion."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.ir.ops.row import Op
from lrpc.ir.ops.traits import Family
from lrpc.ir.ops.traits import Trait as T

CONV = {
    "weight": "weight",
    "bias": "weight?",
    "stride": "counts",
    "padding": "ints",
    "dilation": "counts",
    "groups": "count",
}
CONV_T = {**CONV, "output_padding": "ints"}
MODES = "nearest|bilinear|bicubic"
POOL = {"kernel": "counts", "stride": "counts", "padding": "ints"}
AVERAGE = {**POOL, "ceil": "bool?", "uncounted": "bool?", "divisor": "count?"}


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y = torch.matmul(x, weight.transpose(0, 1))
    return y if bias is None else y + bias


def _batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
) -> Tensor:
    shape = (1, -1) + (1,) * (x.dim() - 2)
    scale = weight / torch.sqrt(var + eps)
    return x * scale.reshape(shape) + (bias - mean * scale).reshape(shape)


def _normalise(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(dims, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(dims, keepdim=True) + eps)


def _layer_norm(
    x: Tensor, eps: float, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    y = _normalise(x, (-1,), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _rms_norm(x: Tensor, eps: float, weight: Tensor | None = None) -> Tensor:
    y = x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)
    return y if weight is None else y * weight


def _embedding(ids: Tensor, weight: Tensor) -> Tensor:
    return weight.index_select(0, ids.reshape(-1)).reshape(*ids.shape, weight.shape[1])


def _group_norm(
    x: Tensor, groups: int, eps: float, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    y = _normalise(x.reshape(x.shape[0], groups, -1), (-1,), eps).reshape(x.shape)
    shape = (1, -1) + (1,) * (x.dim() - 2)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _max_pool2d(
    x: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    ceil: bool,
) -> tuple[Tensor, Tensor]:
    values, indices = F.max_pool2d(x, kernel, stride, padding, dilation, ceil, return_indices=True)
    return values, indices


def avg_pool2d(
    x: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    ceil: bool = False,
    uncounted: bool = False,
    divisor: int | None = None,
) -> Tensor:
    """Averages of windows: `ceil` keeps those that overlap the end, `uncounted` divides by the
    entries that are not padding, `divisor` by a number of its own."""
    return F.avg_pool2d(x, kernel, stride, padding, ceil, not uncounted, divisor)


def interpolate(x: Tensor, size: tuple[int, ...], mode: str, align_corners: bool) -> Tensor:
    """Resize the last two axes; `align_corners` counts for bilinear and bicubic only."""
    options = {} if mode == "nearest" else {"align_corners": align_corners}
    return F.interpolate(x, size, mode=mode, **options)


def _multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *mask: Tensor,
    heads: int,
    in_weight: Tensor,
    out_weight: Tensor,
    in_bias: Tensor | None = None,
    out_bias: Tensor | None = None,
) -> Tensor:
    weights, biases = in_weight.chunk(3), (in_bias.chunk(3) if in_bias is not None else (None,) * 3)
    q, k, v = (
        torch.unflatten(_linear(x, w, b), -1, (heads, -1)).transpose(-2, -3)
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5)
    if mask:
        scores = scores.masked_fill(mask[0], float("-inf"))
    mixed = scores.softmax(-1) @ v
    return _linear(mixed.transpose(-2, -3).flatten(-2), out_weight, out_bias)


ROWS = (
    Op("linear", 1, {"weight": "weight", "bias": "weight?"}, _linear, Family.LINEAR,
       T.ALLOCATES | T.CHANNELS_LAST, contracted=(0,)),
    Op("conv2d", 1, CONV, F.conv2d, Family.CONVOLUTION, T.ALLOCATES | T.CHANNELS_FIRST,
       contracted=(0,)),
    Op("conv_transpose2d", 1, CONV_T, F.conv_transpose2d, Family.CONVOLUTION,
       T.ALLOCATES | T.CHANNELS_FIRST, contracted=(0,)),
    Op("batch_norm", 1,
       {"weight": "weight", "bias": "weight", "mean": "weight", "var": "weight", "eps": "number"},
       _batch_norm, Family.NORM, T.ALLOCATES | T.ELEMENTWISE | T.CHANNELS_FIRST),
    Op("layer_norm", 1, {"weight": "weight?", "bias": "weight?", "eps": "number"}, _layer_norm,
       Family.NORM, T.ALLOCATES | T.CHEAP | T.CHANNELS_LAST),
    Op("rms_norm", 1, {"weight": "weight?", "eps": "number"}, _rms_norm, Family.NORM,
       T.ALLOCATES | T.CHEAP | T.CHANNELS_LAST),
    Op("embedding", 1, {"weight": "weight"}, _embedding, Family.EMBEDDING),
    Op("group_norm", 1,
       {"groups": "count", "weight": "weight?", "bias": "weight?", "eps": "number"}, _group_norm,
       Family.NORM, T.ALLOCATES | T.CHEAP | T.CHANNELS_FIRST),
    Op("softmax", 1, {"dim": "axis"}, lambda x, dim: torch.softmax(x, dim), Family.SOFTMAX,
       T.ALLOCATES | T.CHEAP | T.NOT_NEGATIVE | T.BOUNDED),
    Op("matmul", 2, {}, torch.matmul, Family.BILINEAR, T.ALLOCATES | T.CHANNELS_LAST,
       contracted=(0, 1)),
    Op("einsum", 2, {"equation": "str"}, lambda a, b, equation: torch.einsum(equation, a, b),
       Family.BILINEAR, contracted=(0, 1)),
    Op("max_pool2d", 1, {**POOL, "dilation": "counts", "ceil": "bool"}, _max_pool2d, Family.POOLING,
       T.KEEPS_SIGN | T.CHOOSES | T.CHANNELS_FIRST, outputs=2),
    Op("avg_pool2d", 1, AVERAGE, avg_pool2d, Family.POOLING, T.KEEPS_SIGN | T.CHANNELS_FIRST),
    Op("interpolate", 1, {"size": "counts", "mode": MODES, "align_corners": "bool"}, interpolate,
       Family.INTERPOLATION, T.CHANNELS_FIRST),
    Op("multi_head_attention", None,
       {"heads": "count", "in_weight": "weight", "in_bias": "weight?", "out_weight": "weight",
        "out_bias": "weight?"}, _multi_head_attention, Family.ATTENTION),
)  # fmt: skip
