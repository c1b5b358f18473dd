"""Transposes of linear maps, slopes of activations and ledger sums, as generated programs use them.

Relevance tensors have the seeds axis K in front. Every function is held against the reference
semantics of the op of the same name.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.runtime.kernels.linears import linear_transpose


def widened(x: Tensor) -> Tensor:
    """`x` in float32 where it is in half precision, in which small eps and large squares vanish."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def narrowed(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x` in `dtype`; beyond its range it takes its largest number, not infinity."""
    if x.dtype == dtype:
        return x
    most = torch.finfo(dtype).max
    return x.clamp(-most, most).to(dtype)


def entrywise(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function`, which keeps the dtype and looks at each entry alone, of a segment of x at a
    time, so that what it computes in between takes no memory to speak of."""
    size = 1 << 22 if x.is_cuda else 1 << 18
    if torch.compiler.is_compiling() or not x.is_contiguous() or x.numel() <= size:
        return function(x)
    out = torch.empty_like(x)
    flat, made = x.view(-1), out.view(-1)
    for first in range(0, x.numel(), size):
        here = slice(first, first + size)
        made[here] = function(flat[here])
    return out


def gelu_ratio(x: Tensor, approximate: str) -> Tensor:
    """gelu(x) / x."""
    if approximate == "none":
        return entrywise(torch.special.ndtr, x)
    return entrywise(lambda x: torch.sigmoid(1.5957691216057308 * x * (1 + 0.044715 * x * x)), x)


def sigmoid_ratio(x: Tensor) -> Tensor:
    """(sigmoid(x) - sigmoid(0)) / x = tanh(x / 2) / (2 x)."""
    return entrywise(lambda x: 0.25 * tanh_ratio(0.5 * x), x)


def tanh_ratio(x: Tensor) -> Tensor:
    """tanh(x) / x, by its series near 0."""

    def of(x: Tensor) -> Tensor:
        small = x.abs() < 1e-4
        return torch.where(small, 1 - x * x / 3, torch.tanh(x) / torch.where(small, 1.0, x))

    return entrywise(of, x)


def relu6_ratio(x: Tensor) -> Tensor:
    """relu6(x) / x."""
    return entrywise(lambda x: (x > 0) * (6 / x.clamp_min(6)), x)


def elu_ratio(x: Tensor) -> Tensor:
    """elu(x) / x."""

    def of(x: Tensor) -> Tensor:
        below = x.clamp_max(0)
        return torch.where(below < 0, torch.expm1(below) / below, 1.0)

    return entrywise(of, x)


def centred_softplus_ratio(x: Tensor) -> Tensor:
    """(softplus(x) - log 2) / x, without cancellation near 0."""

    def of(x: Tensor) -> Tensor:
        near = torch.log1p(torch.expm1(x.clamp(-1, 1)) / 2)
        risen = torch.where(x.abs() < 1, near, F.softplus(x) - 0.6931471805599453)
        return torch.where(x == 0, 0.5, risen / x)

    return entrywise(of, x)


def conv2d_transpose(
    g: Tensor,
    weight: Tensor,
    size: tuple[int, ...],
    stride: tuple[int, ...] = (1, 1),
    padding: tuple[int, ...] = (0, 0),
    dilation: tuple[int, ...] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """The input gradient of conv2d; size is (C, H, W) of its input.

    Patches that do not overlap and cover the input, as in a patch embedding, are one product each.
    """
    plain = (padding, dilation, groups) == ((0, 0), (1, 1), 1)
    covered = size[1:] == (g.shape[2] * stride[0], g.shape[3] * stride[1])
    if plain and covered and weight.shape[2:] == stride != (1, 1):
        patches = linear_transpose(g.permute(0, 2, 3, 1), weight.flatten(1))
        apart = patches.reshape(*patches.shape[:-1], *weight.shape[1:])
        return apart.permute(0, 3, 1, 4, 2, 5).reshape(-1, *size)
    shape = (g.shape[0], *size)
    like = g.new_empty(()).expand(shape)
    mask = (True, False, False)
    back: Tensor = torch.ops.aten.convolution_backward(
        g, like, weight, None, stride, padding, dilation, False, (0, 0), groups, mask
    )[0]
    return back


def conv_transpose2d_transpose(
    g: Tensor,
    weight: Tensor,
    size: tuple[int, ...],
    stride: tuple[int, ...] = (1, 1),
    padding: tuple[int, ...] = (0, 0),
    dilation: tuple[int, ...] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """The input gradient of conv_transpose2d; size is (C, H, W) of its input.

    An output padding of a stride or more leaves rows and columns that no input reaches.
    """
    back = F.conv2d(g, weight, None, stride, padding, dilation, groups)
    return back[..., : size[1], : size[2]]


def avg_pool2d(
    x: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    ceil: bool | None = None,
    uncounted: bool | None = None,
    divisor: int | None = None,
) -> Tensor:
    """Averages of windows; `uncounted` padding does not count in them."""
    return F.avg_pool2d(x, kernel, stride, padding, bool(ceil), not uncounted, divisor)


def avg_pool2d_transpose(
    g: Tensor,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    ceil: bool | None = None,
    uncounted: bool | None = None,
    divisor: int | None = None,
) -> Tensor:
    """The transpose of avg_pool2d; size is (C, H, W) of its input."""
    like = g.new_empty((g.shape[0], *size))
    back: Tensor = torch.ops.aten.avg_pool2d_backward(
        g, like, kernel, stride, padding, bool(ceil), not uncounted, divisor
    )
    return back


def interpolate(x: Tensor, size: tuple[int, ...], mode: str, align_corners: bool) -> Tensor:
    """Resize the last two axes to `size`."""
    if mode == "nearest":
        return F.interpolate(x, size, mode=mode)
    return F.interpolate(x, size, mode=mode, align_corners=align_corners)


def interpolate_transpose(
    g: Tensor, source: tuple[int, ...], mode: str, align_corners: bool
) -> Tensor:
    """The transpose of `interpolate` from maps of size `source`."""
    size, shape = g.shape[-2:], (*g.shape[:2], *source)
    if mode == "nearest":
        nearest: Tensor = torch.ops.aten.upsample_nearest2d_backward(g, size, shape)
        return nearest
    aten = torch.ops.aten
    bilinear = mode == "bilinear"
    back = aten.upsample_bilinear2d_backward if bilinear else aten.upsample_bicubic2d_backward
    smooth: Tensor = back(g, size, shape, align_corners)
    return smooth


def max_pool2d_transpose(g: Tensor, indices: Tensor, size: tuple[int, ...]) -> Tensor:
    """Send each window's relevance to its winner; size is (H, W) of the pooled map."""
    flat = g.new_zeros(*g.shape[:-2], size[0] * size[1])
    index = indices.flatten(-2).expand(*g.shape[:-2], -1)
    return flat.scatter_add_(-1, index, g.flatten(-2)).reshape(*g.shape[:-2], *size)


def gather_transpose(g: Tensor, index: Tensor, dim: int, size: int) -> Tensor:
    """The transpose of x.gather(dim, index), x having `size` entries along dim."""
    shape = list(g.shape)
    shape[dim] = size
    return g.new_zeros(shape).scatter_add_(dim, index.expand(g.shape), g)


def last_place(index: Tensor, dim: int, size: int) -> Tensor:
    """Where along an axis of an index each place below `size` comes last; -1 where it does not."""
    shape = list(index.shape)
    shape[dim] = size
    counts = torch.arange(index.shape[dim], device=index.device)
    along = counts.reshape(-1, *(1,) * (index.dim() - 1 - dim % index.dim())).expand(index.shape)
    return index.new_full(shape, -1).scatter_reduce_(dim, index, along, "amax")


def slice_transpose(g: Tensor, dim: int, start: int, step: int, size: int) -> Tensor:
    """Put `g` back at start, start + step, … of an axis of `size` zeros."""
    shape = list(g.shape)
    shape[dim] = size
    out = g.new_zeros(shape)
    stop = start + step * (g.shape[dim] - 1) + 1
    out.movedim(dim, 0)[start:stop:step] = g.movedim(dim, 0)
    return out


def rstd(x: Tensor, eps: float, groups: int) -> Tensor:
    """1 / sqrt(var + eps) over the last axis, or over each group of channels."""
    rows = widened(x.reshape(x.shape[0], groups, -1) if groups else x)
    found = torch.native_layer_norm(rows, rows.shape[-1:], None, None, eps)[2]  # var takes longer
    return narrowed(found, x.dtype)


def reciprocal_rms(x: Tensor, eps: float) -> Tensor:
    """1 / sqrt(mean(x²) + eps) over the last axis."""
    mean = widened(x).square().mean(-1, keepdim=True)
    return narrowed((mean + eps).rsqrt(), x.dtype)


def layer_norm_transpose(g: Tensor, rstd: Tensor, weight: Tensor | None) -> Tensor:
    """The transpose of diag(weight · rstd)(I − 11ᵀ/C)."""
    t = widened(g) * rstd if weight is None else (widened(g) * weight).mul_(rstd)
    return narrowed(t.sub_(t.mean(-1, keepdim=True)), g.dtype)


def group_norm_transpose(g: Tensor, rstd: Tensor, groups: int, weight: Tensor | None) -> Tensor:
    """The same over groups of channels; g [K, B, C, ...], rstd [B, groups, 1]."""
    t = widened(g)
    t = t if weight is None else t * weight.reshape(-1, *(1,) * (g.dim() - 3))
    t = t.reshape(*g.shape[:2], groups, -1) * rstd
    return narrowed(t.sub_(t.mean(-1, keepdim=True)).reshape(g.shape), g.dtype)


def norm_gradient(g: Tensor, x: Tensor, weight: Tensor | None, groups: int, eps: float) -> Tensor:
    """The transposed Jacobian of LayerNorm (groups = 0) or GroupNorm at x."""
    shape, dtype = (*g.shape[:1], *x.shape), g.dtype
    g, x = widened(g), widened(x)
    if weight is not None:
        g = g * (weight.reshape(-1, *(1,) * (x.dim() - 2)) if groups else weight)
    if groups:
        g, x = g.reshape(*g.shape[:2], groups, -1), x.reshape(x.shape[0], groups, -1)
    centred = x - x.mean(-1, keepdim=True)
    r = ((centred * centred).mean(-1, keepdim=True) + eps).rsqrt()
    unit = centred * r
    back = r * (g - g.mean(-1, keepdim=True) - unit * (g * unit).mean(-1, keepdim=True))
    return narrowed(back.reshape(shape), dtype)


def activation_gradient(g: Tensor, x: Tensor, kind: str) -> Tensor:
    """g times the derivative of an activation at x."""
    s = torch.sigmoid(x)
    if kind == "sigmoid":
        return g * s * torch.sigmoid(-x)
    if kind == "tanh":
        return g * narrowed(1 - torch.tanh(widened(x)) ** 2, x.dtype)
    if kind == "silu":
        return g * s * (1 + x * (1 - s))
    if kind == "centred_softplus":
        return g * s
    if kind == "relu6":
        return g * ((x > 0) & (x < 6))
    if kind == "elu":
        return g * x.clamp_max(0).exp()
    if kind == "hardswish":
        return g * torch.where(x.abs() < 3, x / 3 + 0.5, (x > 0).to(x.dtype))
    if kind == "mish":
        t = F.softplus(x).tanh()
        return g * (t + x * s * (1 - t * t))
    name = "none" if kind == "gelu_none" else "tanh"
    back: Tensor = torch.ops.aten.gelu_backward(torch.ones_like(x), x, approximate=name)
    return g * back


def softmax_transpose(g: Tensor, s: Tensor, dim: int) -> Tensor:
    """s ⊙ (g − Σ s ⊙ g) along `dim`."""
    t = g * s
    return t.addcmul_(s, t.sum(dim, keepdim=True).neg_())


def softmax_jacobian(s: Tensor, dim: int) -> Tensor:
    """diag(s) − s sᵀ for every row of `s` along `dim`, which changes places with the last axis."""
    rows = s.transpose(dim, -1)
    return torch.diag_embed(rows) - rows.unsqueeze(-1) * rows.unsqueeze(-2)
