"""Windows along axes, and matrices on them: what pooling and resizing are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.indexing import along, taken
from lrpc.ir.graph import Value
from lrpc.ir.types import DTYPES, Dim, whole

Numbers = int | Sequence[int]


def several(x: Operand, count: int) -> tuple[int, ...]:
    """A number for each of `count` axes; one number is all of them."""
    given = [*x] if isinstance(x, (tuple, list)) else [x]
    return tuple(whole(n) for n in (given * count if len(given) == 1 else given))


def windows(c: Context, x: Value, axis: int, index: Tensor) -> Value:
    """`x` with an axis replaced by two: windows, and the entries of each, by `index`."""
    rank, (count, size) = x.type.rank, index.shape
    dim = axis % rank
    found = taken(c, x, dim - rank, c.constant(index.reshape(-1)))
    shape = found.type.shape
    return c.reshape(found, (*shape[:dim], count, size, *shape[dim + 1 :]))


def starts(
    length: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil: bool = False
) -> Tensor:
    """Where the entries of each window lie, before −padding and after the end included."""
    reach = length + 2 * padding - dilation * (kernel - 1) - 1
    count = (-(-reach // stride) if ceil else reach // stride) + 1
    if ceil and (count - 1) * stride >= length + padding:
        count -= 1  # the last window begins on an entry, or on the padding before
    first = torch.arange(count)[:, None] * stride - padding
    return first + dilation * torch.arange(kernel)


def within(index: Tensor, length: int) -> Tensor:
    """Windows whose entries outside are those of one inside, which changes no maximum."""
    inside = (index >= 0) & (index < length)
    first = inside.int().argmax(1, keepdim=True)
    return torch.where(inside, index, index.gather(1, first))


def cells(length: int, count: int) -> Tensor:
    """The windows of adaptive pooling; shorter ones hold their last entry several times."""
    begin = torch.arange(count) * length // count
    end = -(-(torch.arange(1, count + 1) * length) // count)
    places = begin[:, None] + torch.arange(int((end - begin).max()))
    return torch.minimum(places, end[:, None] - 1)


def largest(c: Context, x: Value, axis: int, index: Tensor) -> Value:
    """The largest entry of each window along an axis."""
    wide = windows(c, x, axis % x.type.rank - x.type.rank, index)
    return c.op("amax", wide, dims=(axis % x.type.rank + 1 - wide.type.rank,), keepdim=False)


def by_matrix(c: Context, x: Value, axis: int, matrix: Tensor) -> Value:
    """A matrix [out, in] applied along an axis."""
    if not c.result.is_float:
        c.refuse("averages whole numbers", "give it floating ones")
    rank, weight = x.type.rank, matrix.to(DTYPES[c.result.dtype]).contiguous()
    turned = [d for d in range(rank) if d != axis % rank] + [axis % rank]
    back = sorted(range(rank), key=lambda i: turned[i])
    y = c.op("linear", c.permute(x, tuple(turned)), weight=c.weight(c.constant(weight)))
    return c.permute(y, tuple(back))


def averages(length: int, count: int) -> Tensor:
    """The matrix of adaptive averages."""
    matrix = torch.zeros(count, length, dtype=torch.float64)
    for cell in range(count):
        start, stop = cell * length // count, -(-(cell + 1) * length // count)
        matrix[cell, start:stop] = 1 / (stop - start)
    return matrix


# The calls.


def unfold(
    c: Context, x: Operand, kernel_size: Numbers, dilation: Numbers = 1, padding: Numbers = 0,
    stride: Numbers = 1,
) -> Operand:  # fmt: skip
    """Maps [B, C, H, W] as columns [B, C · kernel, windows]."""
    value = _padded(c, x, padding)
    (high, wide), (down, across), steps = (several(v, 2) for v in (kernel_size, dilation, stride))
    for axis, size, apart, step in ((2, high, down, steps[0]), (4, wide, across, steps[1])):
        places = starts(c.counted(value, axis), size, step, 0, apart)
        value = windows(c, value, axis, places)  # [B, C, rows, high, columns, wide] in the end
    return c.reshape(c.permute(value, (0, 1, 3, 5, 2, 4)), c.result.shape)


def _padded(c: Context, x: Operand, padding: Numbers) -> Value:
    if c.type(x).rank != 4:
        c.refuse(f"takes {c.type(x)}", "give it a batch axis, [B, C, H, W]")
    down, across = several(padding, 2)
    pad = (across, across, down, down)
    return c.op("pad", x, pad=pad, value=0.0) if any(pad) else c.value(x)


def fold(
    c: Context, x: Operand, output_size: Numbers, kernel_size: Numbers, dilation: Numbers = 1,
    padding: Numbers = 0, stride: Numbers = 1,
) -> Operand:  # fmt: skip
    """Columns [B, C · kernel, windows] added up in maps [B, C, H, W]."""
    if c.type(x).rank != 3:
        c.refuse(f"takes {c.type(x)}", "give it a batch axis, [B, C · kernel, windows]")
    given = (output_size, kernel_size, dilation, padding, stride)
    sizes, kernel, apart, pad, step = (several(v, 2) for v in given)
    index = [starts(sizes[i], kernel[i], step[i], pad[i], apart[i]) + pad[i] for i in range(2)]
    batch, channels = c.result.shape[:2]
    counts = [len(places) for places in index]
    parts = c.reshape(x, (batch, channels, *kernel, *counts))
    value = c.permute(parts, (0, 1, 4, 2, 5, 3))  # [B, C, rows, high, columns, wide]
    for i, dim in ((1, 4), (0, 2)):
        shape: tuple[Dim, ...] = value.type.shape
        flat = (*shape[:dim], counts[i] * kernel[i], *shape[dim + 2 :])
        value = c.reshape(value, flat)
        axis = dim - len(flat)
        places = along(c, c.constant(index[i].reshape(-1)), flat, axis)
        value = c.op("scatter_sum", value, places, dim=axis, size=sizes[i] + 2 * pad[i])
    for i, axis in ((0, -2), (1, -1)):
        value = c.slice(value, axis, pad[i], pad[i] + sizes[i])
    return value


def unfold_method(c: Context, x: Operand, dimension: int, size: int, step: int) -> Operand:
    """Windows of an axis, their entries as a new last axis."""
    value = c.value(x)
    if value.type.rank == 0:
        c.refuse("takes windows of a single number")
    dim = dimension % value.type.rank
    wide = windows(c, value, dim, starts(c.counted(value, dim), size, step, 0))
    rest = [d for d in range(wide.type.rank) if d != dim + 1]
    return c.permute(wide, (*rest, dim + 1))


ROWS: dict[str, Any] = {"unfold": unfold, "fold": fold}
