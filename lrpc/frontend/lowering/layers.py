"""Rows for layers: linear maps, normalisation, softmax, products, attention."""

from __future__ import annotations

from typing import Any

import torch

from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.elementwise import swapped
from lrpc.frontend.records import Stored
from lrpc.ir.graph import Value
from lrpc.ir.ops import Family, of_family
from lrpc.ir.types import DTYPES, Dim, whole

CONVOLUTIONS = of_family(Family.CONVOLUTION)


def linear(c: Context, x: Operand, weight: Operand, bias: Operand = None) -> Operand:
    row = c.type(weight).rank == 1
    if row or not isinstance(weight, Stored):
        product = matmul(c, x, weight if row else c.permute(weight, (1, 0)))
        return product if bias is None else c.op("add", product, bias)
    return c.op("linear", x, weight=c.weight(weight), bias=c.weight_or_none(bias))


def batch_norm(
    c: Context, x: Operand, running_mean: Operand, running_var: Operand, weight: Operand = None,
    bias: Operand = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Operand:  # fmt: skip
    if training or running_mean is None:
        c.refuse(
            "uses the statistics of the batch, so that images would not be independent",
            "keep running statistics (track_running_stats=True)",
        )
    like = running_mean.tensor
    weight = c.constant(torch.ones_like(like)) if weight is None else weight
    bias = c.constant(torch.zeros_like(like)) if bias is None else bias
    y = c.op(
        "batch_norm", _convolved(c, x), weight=c.weight(weight), bias=c.weight(bias),
        mean=c.weight(running_mean), var=c.weight(running_var), eps=eps,
    )  # fmt: skip
    return c.reshape(y, c.result.shape)


def torch_batch_norm(
    c: Context, x: Operand, weight: Operand, bias: Operand, running_mean: Operand,
    running_var: Operand, training: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Operand:  # fmt: skip
    return batch_norm(c, x, running_mean, running_var, weight, bias, training, eps=eps)


def _convolved(c: Context, x: Operand) -> Value:
    """`x`, or the map that a convolution over one axis reshaped to it: batch norm folds into it."""
    value = c.value(x)
    before = c.producers.get(value)
    if before is None or before.op != "reshape" or value.type.rank != 3:
        return value
    source = c.producers.get(before.inputs[0])
    return before.inputs[0] if source is not None and source.op in CONVOLUTIONS else value


def instance_norm(
    c: Context, x: Operand, running_mean: Operand = None, running_var: Operand = None,
    weight: Operand = None, bias: Operand = None, use_input_stats: bool = True,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Operand:  # fmt: skip
    """Each channel is a group of its own; with running statistics it is a batch norm."""
    if not use_input_stats:
        return batch_norm(c, x, running_mean, running_var, weight, bias, eps=eps)
    return group_norm(c, x, c.size(x, 1), weight, bias, eps)


def torch_instance_norm(
    c: Context, x: Operand, weight: Operand, bias: Operand, running_mean: Operand,
    running_var: Operand, use_input_stats: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Operand:  # fmt: skip
    return instance_norm(
        c, x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )


def layer_norm(
    c: Context, x: Operand, normalized_shape: tuple[int, ...], weight: Operand = None,
    bias: Operand = None, eps: float = 1e-5, cudnn_enable: bool = True,
) -> Operand:  # fmt: skip
    axes = len(normalized_shape)
    value = c.value(x)
    for axis in range(-axes, 0):
        c.size(value, axis)
    lead = value.type.shape[: value.type.rank - axes]
    flat = value
    if axes > 1:
        flat = c.reshape(value, (*lead, int(torch.Size(normalized_shape).numel())))
        weight, bias = (
            None if w is None else c.constant(w.tensor.flatten()) for w in (weight, bias)
        )
    weights = {"weight": c.weight_or_none(weight), "bias": c.weight_or_none(bias)}
    return c.reshape(c.op("layer_norm", flat, eps=eps, **weights), value.type.shape)


def rms_norm(
    c: Context, x: Operand, normalized_shape: tuple[int, ...], weight: Operand = None,
    eps: float | None = None,
) -> Operand:  # fmt: skip
    if len(normalized_shape) > 1:
        c.refuse("normalises over several axes", "flatten them into one first")
    eps = torch.finfo(DTYPES[c.result.dtype]).eps if eps is None else eps
    return c.op("rms_norm", x, weight=c.weight_or_none(weight), eps=eps)


def group_norm(
    c: Context, x: Operand, num_groups: int, weight: Operand = None, bias: Operand = None,
    eps: float = 1e-5, cudnn_enabled: bool = True,
) -> Operand:  # fmt: skip
    return c.op(
        "group_norm", x, groups=num_groups, weight=c.weight_or_none(weight),
        bias=c.weight_or_none(bias), eps=eps,
    )  # fmt: skip


def softmax(
    c: Context, x: Operand, dim: int | None = None, _stacklevel: int = 3, dtype: Operand = None
) -> Operand:
    if dim is None:
        c.refuse("names no axis", "give dim")
    value = c.value(c.cast(x, c.result.dtype))
    axis = c.axis(dim, value.type.rank)
    c.size(value, axis)
    return c.op("softmax", value, dim=axis)


def matmul(c: Context, x: Operand, y: Operand) -> Operand:
    if 1 in (c.type(x).rank, c.type(y).rank):
        row = _reshaped(c, x, (1, *c.type(x).shape)) if c.type(x).rank == 1 else x
        column = _reshaped(c, y, (*c.type(y).shape, 1)) if c.type(y).rank == 1 else y
        return c.reshape(matmul(c, row, column), c.result.shape)
    c.size(x, -1)
    if isinstance(y, Stored) and y.tensor.dim() == 2 and not y.varies and c.type(x).rank > 1:
        return c.op("linear", x, weight=c.weight(c.constant(y.tensor.t().contiguous())))
    return c.op("matmul", x, y)


def _reshaped(c: Context, x: Operand, shape: tuple[Dim, ...]) -> Operand:
    if isinstance(x, Stored) and not x.varies:
        return c.constant(x.tensor.reshape([whole(extent) for extent in shape]))
    return c.reshape(x, shape)


ROWS: dict[str, Any] = {
    "linear": linear, "batch_norm": batch_norm, "instance_norm": instance_norm,
    "layer_norm": layer_norm, "rms_norm": rms_norm, "group_norm": group_norm,
    "softmax": softmax, "special_softmax": softmax,
    "matmul": matmul, "rmatmul": swapped(matmul), "bmm": matmul, "mm": matmul,
    "linalg_matmul": matmul,
}  # fmt: skip
