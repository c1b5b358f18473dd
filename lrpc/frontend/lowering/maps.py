"""Rows for maps over space: convolution, pooling, resizing. One axis is a map of height 1."""

from __future__ import annotations

import inspect
import math
from typing import Any

from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.volumes import adaptive_max
from lrpc.frontend.lowering.windows import averages, by_matrix
from lrpc.frontend.records import Stored
from lrpc.ir.graph import Value
from lrpc.ir.types import TensorType, whole

Pair = int | tuple[int, ...]


def pair(x: Operand) -> tuple[int, int]:
    """Height and width; one number is both."""
    if isinstance(x, (tuple, list)):
        return (whole(x[0]), whole(x[-1]))
    return (whole(x), whole(x))


# One axis.


def wide(c: Context, x: Operand) -> Value:
    """[B, C, L] as a map of height 1."""
    value = c.value(x)
    if value.type.rank != 3:
        c.refuse(f"takes {value.type}", "give it a batch axis, [B, C, L]")
    return c.reshape(value, (*value.type.shape[:2], 1, value.type.shape[2]))


def narrow(c: Context, y: Operand) -> Value:
    shape = c.value(y).type.shape
    return c.reshape(y, (*shape[:2], shape[3]))


def _wide_weight(c: Context, weight: Operand) -> Operand:
    if not isinstance(weight, Stored):
        return weight  # refused as such
    kernel = weight.tensor.unsqueeze(2)
    name = weight.name and f"{weight.name}@wide"
    return Stored(name, kernel, TensorType(weight.type.dtype, tuple(kernel.shape)))


def _along_one_axis(row: Any, **height: int) -> Any:
    """`row` for signals [B, C, L], as maps of height 1; `height` has each option's value there."""

    def narrowed(c: Context, x: Operand, *args: Any, **kwargs: Any) -> Operand:
        given = inspect.signature(row).bind(c, wide(c, x), *args, **kwargs)
        for name, first in height.items():
            option = given.arguments.get(name)
            if isinstance(option, (int, tuple, list)):
                given.arguments[name] = (first, pair(option)[1])
        if "weight" in given.arguments:
            given.arguments["weight"] = _wide_weight(c, given.arguments["weight"])
        y = row(*given.args, **given.kwargs)
        return narrow(c, y[0] if isinstance(y, tuple) else y)

    return narrowed


# Convolution.


def conv2d(
    c: Context, x: Operand, weight: Operand, bias: Operand = None, stride: Pair = 1,
    padding: Pair | str = 0, dilation: Pair = 1, groups: int = 1,
) -> Operand:  # fmt: skip
    if c.type(x).rank != 4:
        c.refuse(f"takes {c.type(x)}", "give it a batch axis, [B, C, H, W]")
    if isinstance(padding, str):
        x, padding = _named_padding(c, padding, x, weight, pair(dilation))
    return c.op(
        "conv2d", x, weight=c.weight(weight), bias=c.weight_or_none(bias), stride=pair(stride),
        padding=pair(padding), dilation=pair(dilation), groups=groups,
    )  # fmt: skip


def _named_padding(
    c: Context, name: str, x: Operand, weight: Stored, dilation: tuple[int, int]
) -> tuple[Operand, Pair]:
    """`x` and the padding left to do: where it is uneven, `x` is padded beforehand."""
    if name == "valid":
        return x, 0
    down, across = (d * (k - 1) for d, k in zip(dilation, weight.tensor.shape[-2:], strict=True))
    if down % 2 == across % 2 == 0:
        return x, (down // 2, across // 2)
    pad = (across // 2, across - across // 2, down // 2, down - down // 2)
    return c.op("pad", x, pad=pad, value=0.0), 0


def conv_transpose2d(
    c: Context, x: Operand, weight: Operand, bias: Operand = None, stride: Pair = 1,
    padding: Pair = 0, output_padding: Pair = 0, groups: int = 1, dilation: Pair = 1,
) -> Operand:  # fmt: skip
    return c.op(
        "conv_transpose2d", x, weight=c.weight(weight), bias=c.weight_or_none(bias),
        stride=pair(stride), padding=pair(padding), output_padding=pair(output_padding),
        groups=groups, dilation=pair(dilation),
    )  # fmt: skip


# Pooling.


def _max_pool(
    c: Context, x: Operand, kernel_size: Pair, stride: Operand = None, padding: Pair = 0,
    dilation: Pair = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> tuple[Value, ...]:  # fmt: skip
    return c.ops(
        "max_pool2d", x, kernel=pair(kernel_size), stride=pair(stride or kernel_size),
        padding=pair(padding), dilation=pair(dilation), ceil=ceil_mode,
    )  # fmt: skip


def max_pool2d(c: Context, *args: Any, **kwargs: Any) -> Operand:
    return _max_pool(c, *args, **kwargs)[0]


def avg_pool2d(
    c: Context, x: Operand, kernel_size: Pair, stride: Operand = None, padding: Pair = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Operand:  # fmt: skip
    uncounted = any(pair(padding)) and not count_include_pad
    return c.op(
        "avg_pool2d", x, kernel=pair(kernel_size), stride=pair(stride or kernel_size),
        padding=pair(padding), ceil=ceil_mode or None, uncounted=uncounted or None,
        divisor=divisor_override,
    )  # fmt: skip


def adaptive_avg_pool2d(c: Context, x: Operand, output_size: Operand) -> Operand:
    return _adaptive_avg(c, c.value(x), _extents(c, c.value(x), (-2, -1)))


def adaptive_avg_pool1d(c: Context, x: Operand, output_size: Operand) -> Operand:
    sizes = [(1, 1), *_extents(c, c.value(x), (-1,))]
    return narrow(c, _adaptive_avg(c, wide(c, x), sizes))


def _extents(c: Context, x: Value, axes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Extents before and after, along the last axes."""
    return [(c.size(x, d), whole(c.result.shape[d])) for d in axes]


def _adaptive_avg(c: Context, x: Value, sizes: list[tuple[int, int]]) -> Value:
    if all(out == 1 for _, out in sizes):
        return c.op("mean", x, dims=(-2, -1), keepdim=True)
    if any(size % out for size, out in sizes):
        for axis in range(-len(sizes), 0):
            length, count = sizes[axis]
            if length != count:
                x = by_matrix(c, x, axis, averages(c.counted(x, axis), count))
        return x
    kernel = tuple(size // out for size, out in sizes)
    return c.op("avg_pool2d", x, kernel=kernel, stride=kernel, padding=(0, 0))


def adaptive_max_pool(
    c: Context, x: Operand, output_size: Operand, return_indices: bool = False
) -> Operand:
    """The largest entry of each cell; windows where all cells are of one size."""
    value, axes = c.value(x), c.type(x).rank - 2
    if axes == 2 and value.type.rank == 4:
        sizes = _extents(c, value, (-2, -1))
        if not any(size % out for size, out in sizes):
            return _max_pool(c, value, tuple(size // out for size, out in sizes))[0]
    return adaptive_max(c, value, axes)


def _lp_pool(average: Any) -> Any:
    """(Σ xᵖ)^(1/p) of windows."""

    def row(
        c: Context, x: Operand, norm_type: float, kernel_size: Pair, stride: Operand = None,
        ceil_mode: bool = False,
    ) -> Operand:  # fmt: skip
        mean = average(c, c.op("pow", x, exponent=norm_type), kernel_size, stride, 0, ceil_mode)
        given = kernel_size if isinstance(kernel_size, (tuple, list)) else (kernel_size,)
        count = math.prod(given) if average is not avg_pool2d else math.prod(pair(kernel_size))
        total = c.op("relu", c.op("scale", mean, by=float(count)))
        return c.op("pow", total, exponent=1 / norm_type)

    return row


OPTIONS = {"stride": 1, "padding": 0, "dilation": 1}
ROWS: dict[str, Any] = {
    "conv1d": _along_one_axis(conv2d, **OPTIONS), "conv2d": conv2d,
    "conv_transpose1d": _along_one_axis(conv_transpose2d, **OPTIONS, output_padding=0),
    "conv_transpose2d": conv_transpose2d,
    "max_pool1d": _along_one_axis(_max_pool, **OPTIONS, kernel_size=1),
    "max_pool2d": max_pool2d, "max_pool2d_with_indices": _max_pool,
    "avg_pool1d": _along_one_axis(avg_pool2d, **OPTIONS, kernel_size=1),
    "avg_pool2d": avg_pool2d,
    "adaptive_avg_pool1d": adaptive_avg_pool1d, "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "adaptive_max_pool1d": adaptive_max_pool, "adaptive_max_pool2d": adaptive_max_pool,
    "lp_pool2d": _lp_pool(avg_pool2d),
    "lp_pool1d": _lp_pool(_along_one_axis(avg_pool2d, **OPTIONS, kernel_size=1)),
}  # fmt: skip
