"""Rows for layers: linear maps, convolutions, normalisation, softmax, pooling, resizing."""

from __future__ import annotations

from typing import Any

import torch

from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.records import Stored
from lrpc.ir.types import DTYPES

Pair = int | tuple[int, int]


def _pair(x: Operand) -> tuple[int, int]:
    if isinstance(x, (tuple, list)):
        return (int(x[0]), int(x[-1]))
    return (int(x), int(x))


def linear(c: Context, x: Operand, weight: Operand, bias: Operand = None) -> Operand:
    if not isinstance(weight, Stored):
        product = c.op("matmul", x, c.permute(weight, (1, 0)))
        return product if bias is None else c.op("add", product, bias)
    return c.op("linear", x, weight=c.weight(weight), bias=c.weight_or_none(bias))


def conv2d(
    c: Context, x: Operand, weight: Operand, bias: Operand = None, stride: Pair = 1,
    padding: Pair | str = 0, dilation: Pair = 1, groups: int = 1,
) -> Operand:  # fmt: skip
    if isinstance(padding, str):
        padding = _named_padding(c, padding, weight, _pair(dilation))
    return c.op(
        "conv2d", x, weight=c.weight(weight), bias=c.weight_or_none(bias), stride=_pair(stride),
        padding=_pair(padding), dilation=_pair(dilation), groups=groups,
    )  # fmt: skip


def _named_padding(c: Context, name: str, weight: Stored, dilation: tuple[int, int]) -> Pair:
    extents = [d * (k - 1) for d, k in zip(dilation, weight.tensor.shape[-2:], strict=True)]
    if name == "same" and any(e % 2 for e in extents):
        c.refuse("pads unevenly")
    return (extents[0] // 2, extents[1] // 2) if name == "same" else 0


def conv_transpose2d(
    c: Context, x: Operand, weight: Operand, bias: Operand = None, stride: Pair = 1,
    padding: Pair = 0, output_padding: Pair = 0, groups: int = 1, dilation: Pair = 1,
) -> Operand:  # fmt: skip
    return c.op(
        "conv_transpose2d", x, weight=c.weight(weight), bias=c.weight_or_none(bias),
        stride=_pair(stride), padding=_pair(padding), output_padding=_pair(output_padding),
        groups=groups, dilation=_pair(dilation),
    )  # fmt: skip


def batch_norm(
    c: Context, x: Operand, running_mean: Operand, running_var: Operand, weight: Operand = None,
    bias: Operand = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Operand:  # fmt: skip
    if training or running_mean is None:
        c.refuse("uses the statistics of the batch, so that images would not be independent")
    like = running_mean.tensor
    weight = c.constant(torch.ones_like(like)) if weight is None else weight
    bias = c.constant(torch.zeros_like(like)) if bias is None else bias
    return c.op(
        "batch_norm", x, weight=c.weight(weight), bias=c.weight(bias),
        mean=c.weight(running_mean), var=c.weight(running_var), eps=eps,
    )  # fmt: skip


def layer_norm(
    c: Context, x: Operand, normalized_shape: tuple[int, ...], weight: Operand = None,
    bias: Operand = None, eps: float = 1e-5, cudnn_enable: bool = True,
) -> Operand:  # fmt: skip
    axes = len(normalized_shape)
    value = c.value(x)
    lead = value.type.shape[: value.type.rank - axes]
    flat = value
    if axes > 1:
        flat = c.reshape(value, (*lead, int(torch.Size(normalized_shape).numel())))
        weight, bias = (
            None if w is None else c.constant(w.tensor.flatten()) for w in (weight, bias)
        )
    weights = {"weight": c.weight_or_none(weight), "bias": c.weight_or_none(bias)}
    return c.reshape(c.op("layer_norm", flat, eps=eps, **weights), value.type.shape)


def group_norm(
    c: Context, x: Operand, num_groups: int, weight: Operand = None, bias: Operand = None,
    eps: float = 1e-5, cudnn_enabled: bool = True,
) -> Operand:  # fmt: skip
    return c.op(
        "group_norm", x, groups=num_groups, weight=c.weight_or_none(weight),
        bias=c.weight_or_none(bias), eps=eps,
    )  # fmt: skip


def softmax(c: Context, x: Operand, dim: int | None = None, *_: Any, **__: Any) -> Operand:
    if dim is None:
        c.refuse("names no axis")
    value = c.value(c.cast(x, c.result.dtype))
    axis = c.axis(dim, value.type.rank)
    c.size(value, axis)
    return c.op("softmax", value, dim=axis)


def matmul(c: Context, x: Operand, y: Operand) -> Operand:
    if isinstance(y, Stored) and y.tensor.dim() == 2 and not y.varies and c.type(x).rank > 1:
        return c.op("linear", x, weight=c.weight(c.constant(y.tensor.t().contiguous())))
    return c.op("matmul", x, y)


def rmatmul(c: Context, y: Operand, x: Operand) -> Operand:
    return matmul(c, x, y)


def einsum(c: Context, equation: str, *operands: Operand) -> Operand:
    tensors = operands[0] if isinstance(operands[0], (tuple, list)) else operands
    if len(tensors) != 2:
        c.refuse(f"takes {len(tensors)} tensors; two can be compiled")
    return c.op("einsum", *tensors, equation=equation.replace(" ", ""))


def attention(
    c: Context, query: Operand, key: Operand, value: Operand, attn_mask: Operand = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, **_: Any,
) -> Operand:  # fmt: skip
    """Scaled dot-product attention, in primitive operations."""
    if is_causal or dropout_p:
        c.refuse("is causal or drops entries at random")
    width = c.size(query, -1)
    keys = c.value(key)
    order = (*range(keys.type.rank - 2), keys.type.rank - 1, keys.type.rank - 2)
    scores = c.op("matmul", query, c.permute(keys, order))
    scores = c.op("scale", scores, by=width**-0.5 if scale is None else scale)
    if attn_mask is not None:
        scores = _mask_scores(c, scores, attn_mask)
    return c.op("matmul", c.op("softmax", scores, dim=-1), value)


def _mask_scores(c: Context, scores: Operand, mask: Operand) -> Operand:
    if c.type(mask).dtype != "bool":
        return c.op("add", scores, c.value(mask, spread=False))
    hidden = c.op("logical_not", c.value(mask, spread=False))
    return c.op("masked_fill", scores, hidden, value=float("-inf"))


def max_pool2d(
    c: Context, x: Operand, kernel_size: Pair, stride: Operand = None, padding: Pair = 0,
    dilation: Pair = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Operand:  # fmt: skip
    outputs = c.ops(
        "max_pool2d", x, kernel=_pair(kernel_size), stride=_pair(stride or kernel_size),
        padding=_pair(padding), dilation=_pair(dilation), ceil=ceil_mode,
    )  # fmt: skip
    return outputs if return_indices else outputs[0]


def avg_pool2d(
    c: Context, x: Operand, kernel_size: Pair, stride: Operand = None, padding: Pair = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Operand:  # fmt: skip
    if ceil_mode or divisor_override or (any(_pair(padding)) and not count_include_pad):
        c.refuse("averages with ceil_mode, divisor_override or without its padding")
    return c.op(
        "avg_pool2d", x, kernel=_pair(kernel_size), stride=_pair(stride or kernel_size),
        padding=_pair(padding),
    )  # fmt: skip


def adaptive_avg_pool2d(c: Context, x: Operand, output_size: Operand) -> Operand:
    value = c.value(x)
    sizes = [(c.size(value, d), int(str(c.result.shape[d]))) for d in (-2, -1)]
    if all(out == 1 for _, out in sizes):
        return c.op("mean", value, dims=(-2, -1), keepdim=True)
    if any(size % out for size, out in sizes):
        return _average_axes(c, value, sizes)
    kernel = tuple(size // out for size, out in sizes)
    return c.op("avg_pool2d", value, kernel=kernel, stride=kernel, padding=(0, 0))


def _average_axes(c: Context, x: Operand, sizes: list[tuple[int, int]]) -> Operand:
    """Cells of unequal size: a matrix of averages along each of the last two axes."""
    rank = c.type(x).rank
    turned = (*range(rank - 2), rank - 1, rank - 2)
    for size, out in reversed(sizes):
        matrix = torch.zeros(out, size, dtype=DTYPES[c.result.dtype])
        for cell in range(out):
            start, stop = cell * size // out, -(-(cell + 1) * size // out)
            matrix[cell, start:stop] = 1 / (stop - start)
        x = c.permute(c.op("linear", x, weight=c.weight(c.constant(matrix))), turned)
    return x


def interpolate(
    c: Context, x: Operand, size: Operand = None, scale_factor: Operand = None,
    mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Operand:  # fmt: skip
    if mode not in ("nearest", "bilinear", "bicubic") or antialias:
        c.refuse(f"resizes with mode={mode!r}, antialias={antialias}")
    value = c.value(x)
    target = tuple(int(str(d)) for d in c.result.shape[-2:])
    if scale_factor is not None and not recompute_scale_factor:
        factors = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * 2
        exact = (c.size(value, d) * f for d, f in zip((-2, -1), factors, strict=True))
        if any(abs(e - t) > 1e-9 for e, t in zip(exact, target, strict=True)):
            c.refuse("has a scale factor that does not give a whole number of pixels")
    return c.op("interpolate", value, size=target, mode=mode, align_corners=bool(align_corners))


ROWS: dict[str, Any] = {
    "linear": linear, "conv2d": conv2d, "conv_transpose2d": conv_transpose2d,
    "batch_norm": batch_norm, "layer_norm": layer_norm, "group_norm": group_norm,
    "softmax": softmax, "matmul": matmul, "rmatmul": rmatmul, "bmm": matmul, "mm": matmul,
    "einsum": einsum, "scaled_dot_product_attention": attention,
    "max_pool2d": max_pool2d, "avg_pool2d": avg_pool2d, "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "interpolate": interpolate,
}  # fmt: skip
