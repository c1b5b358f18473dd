"""Rows for maps of three axes [B, C, D, H, W]: each depth is a map, windows of depths channels."""

from __future__ import annotations

from typing import Any

import torch

from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.windows import (
    Numbers,
    averages,
    by_matrix,
    cells,
    largest,
    several,
    starts,
    windows,
    within,
)
from lrpc.frontend.records import Stored
from lrpc.ir.graph import Value
from lrpc.ir.types import TensorType, whole


def _volume(c: Context, x: Operand) -> Value:
    value = c.value(x)
    if value.type.rank != 5:
        c.refuse(f"takes {value.type}", "give it a batch axis, [B, C, D, H, W]")
    return value


def conv3d(
    c: Context, x: Operand, weight: Operand, bias: Operand = None, stride: Numbers = 1,
    padding: Numbers | str = 0, dilation: Numbers = 1, groups: int = 1,
) -> Operand:  # fmt: skip
    """A convolution of maps, of which each has the depths under the kernel as channels."""
    if not isinstance(weight, Stored):
        c.refuse("has a weight that depends on the inputs")
    value, kernel = _volume(c, x), tuple(weight.tensor.shape[2:])
    steps, apart = several(stride, 3), several(dilation, 3)
    value, (deep, *around) = _padded(c, value, padding, kernel, apart)
    places = starts(c.counted(value, -3) - 2 * deep, kernel[0], steps[0], deep, apart[0]) + deep
    wide = windows(c, value, 2, places)  # [B, C, depths, kernel, H, W]
    batch, channels, depths, size, *plane = wide.type.shape
    turned = c.permute(wide, (0, 2, 1, 3, 4, 5))
    stacked = c.reshape(turned, (depths * batch, c.fixed(channels) * whole(size), *plane))
    y = c.op(
        "conv2d", stacked, weight=c.weight(_flat(weight)), bias=c.weight_or_none(bias),
        stride=steps[1:], padding=tuple(around), dilation=apart[1:], groups=groups,
    )  # fmt: skip
    shape = y.type.shape
    return c.permute(c.reshape(y, (batch, depths, *shape[1:])), (0, 2, 1, 3, 4))


def _padded(
    c: Context, x: Value, padding: Numbers | str, kernel: tuple[int, ...], apart: tuple[int, ...]
) -> tuple[Value, tuple[int, ...]]:
    """`x` with padded depths, and the padding of each axis; where that is uneven, all done."""
    if not isinstance(padding, str):
        pad = several(padding, 3)
    elif padding == "valid":
        pad = (0, 0, 0)
    else:
        total = [d * (k - 1) for d, k in zip(apart, kernel, strict=True)]
        if any(n % 2 for n in total):
            ends = [e for n in reversed(total) for e in (n // 2, n - n // 2)]
            return c.op("pad", x, pad=tuple(ends), value=0.0), (0, 0, 0)
        pad = tuple(n // 2 for n in total)
    if pad[0]:
        x = c.op("pad", x, pad=(0, 0, 0, 0, pad[0], pad[0]), value=0.0)
    return x, pad


def _flat(weight: Stored) -> Stored:
    """The kernel's depths as channels."""
    kernel = weight.tensor.flatten(1, 2)
    name = weight.name and f"{weight.name}@depths"
    return Stored(name, kernel, TensorType(weight.type.dtype, tuple(kernel.shape)))


# Pooling.


def _plane(c: Context, x: Value, op: str, **options: Any) -> Value:
    """A pooling of each depth."""
    batch, channels, depth, *plane = x.type.shape
    flat = c.reshape(x, (batch, c.fixed(channels) * c.fixed(depth), *plane))
    y = c.ops(op, flat, **options)[0]
    return c.reshape(y, (batch, channels, depth, *y.type.shape[2:]))


def max_pool3d(
    c: Context, x: Operand, kernel_size: Numbers, stride: Operand = None, padding: Numbers = 0,
    dilation: Numbers = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Operand:  # fmt: skip
    value, kernel = _volume(c, x), several(kernel_size, 3)
    steps, pad, apart = several(stride or kernel, 3), several(padding, 3), several(dilation, 3)
    y = _plane(
        c, value, "max_pool2d", kernel=kernel[1:], stride=steps[1:], padding=pad[1:],
        dilation=apart[1:], ceil=ceil_mode,
    )  # fmt: skip
    depth = c.counted(value, -3)
    places = starts(depth, kernel[0], steps[0], pad[0], apart[0], ceil_mode)
    return largest(c, y, -3, within(places, depth))


def avg_pool3d(
    c: Context, x: Operand, kernel_size: Numbers, stride: Operand = None, padding: Numbers = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Operand:  # fmt: skip
    value, kernel = _volume(c, x), several(kernel_size, 3)
    steps, pad = several(stride or kernel, 3), several(padding, 3)
    uncounted = any(pad) and not count_include_pad
    y = _plane(
        c, value, "avg_pool2d", kernel=kernel[1:], stride=steps[1:], padding=pad[1:],
        ceil=ceil_mode or None, uncounted=uncounted or None,
        divisor=None if divisor_override is None else 1,
    )  # fmt: skip
    depth = c.counted(value, -3)
    places = starts(depth, kernel[0], steps[0], pad[0], 1, ceil_mode)
    inside = (places >= 0) & (places < depth)
    counted = inside if uncounted else places < depth + pad[0]
    counts = counted.sum(1, keepdim=True).double()
    matrix = torch.zeros(len(places), depth, dtype=torch.float64)
    for row, (window, seen) in enumerate(zip(places, inside, strict=True)):
        matrix[row, window[seen]] = 1.0
    if divisor_override is not None:
        return by_matrix(c, y, -3, matrix / divisor_override)
    return by_matrix(c, y, -3, matrix / counts)


def adaptive_avg_pool3d(c: Context, x: Operand, output_size: Operand) -> Operand:
    value = _volume(c, x)
    if all(d == 1 for d in c.result.shape[2:]):
        return c.op("mean", value, dims=(-3, -2, -1), keepdim=True)
    for axis in (-3, -2, -1):
        length, count = c.counted(value, axis), c.fixed(c.result.shape[axis])
        if length != count:
            value = by_matrix(c, value, axis, averages(length, count))
    return value


def adaptive_max_pool3d(
    c: Context, x: Operand, output_size: Operand, return_indices: bool = False
) -> Operand:
    return adaptive_max(c, _volume(c, x), 3)


def adaptive_max(c: Context, x: Value, axes: int) -> Value:
    """The largest entry of each cell along the last axes."""
    for axis in range(-axes, 0):
        length, count = c.counted(x, axis), c.fixed(c.result.shape[axis])
        if length != count:
            x = largest(c, x, axis, cells(length, count))
    return x


# Norms of channels, and pooling by powers.


def local_response_norm(
    c: Context, x: Operand, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Operand:
    """x / (k + α · mean of x² over neighbouring channels)^β."""
    value = c.value(c.cast(x, c.result.dtype))
    channels = c.counted(value, 1)
    places = torch.arange(channels)
    apart = places - places[:, None]
    near = ((apart >= -(size // 2)) & (apart <= (size - 1) // 2)).double()
    mean = by_matrix(c, c.op("pow", value, exponent=2), 1, near / size)
    total = c.op("shift", c.op("scale", mean, by=alpha), by=k)
    return c.op("div", value, c.op("pow", total, exponent=beta))


ROWS: dict[str, Any] = {
    "conv3d": conv3d, "max_pool3d": max_pool3d, "avg_pool3d": avg_pool3d,
    "adaptive_avg_pool3d": adaptive_avg_pool3d, "adaptive_max_pool3d": adaptive_max_pool3d,
    "local_response_norm": local_response_norm,
}  # fmt: skip
