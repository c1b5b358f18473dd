"""How views of tensors without values lie, by formula: torch takes long to say so.

What a formula gives shares no memory with its operand: it is for traces by shapes, which leave
writes in place to traces by values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lrpc.ir.meta import Formula, rows

aten = torch.ops.aten


def _laid(x: Tensor, shape: Sequence[int], strides: Sequence[int]) -> Tensor:
    return torch.empty_strided(shape, strides, dtype=x.dtype, device="meta")


def _axis(x: Tensor, axis: int, more: int = 0) -> int | None:
    """An axis counted from the front, None where there is none."""
    rank = x.dim() + more
    return axis % rank if -rank <= axis < rank else None


def _reshaped(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, shape = args[0], list(args[1])
    rest = math.prod(n for n in shape if n != -1)
    if x.stride() != rows(x.shape) or 0 in x.shape or shape.count(-1) > 1 or rest <= 0:
        return None
    shape = [x.numel() // rest if n == -1 else n for n in shape]
    if min(shape, default=1) < 1 or math.prod(shape) != x.numel():
        return None
    return _laid(x, shape, rows(shape))


def _permuted(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, order = args[0], [_axis(args[0], axis) for axis in args[1]]
    if sorted(order, key=str) != sorted(range(x.dim()), key=str):
        return None
    return _laid(x, [x.shape[i] for i in order], [x.stride(i) for i in order])


def _transposed(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, (one, other) = args[0], (_axis(args[0], axis) for axis in args[1:3])
    if one is None or other is None:
        return None
    order = list(range(x.dim()))
    order[one], order[other] = other, one
    return _permuted((x, order), {})


def _turned(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    return _transposed((args[0], 0, 1), {}) if args[0].dim() == 2 else None


def _unsqueezed(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, axis = args[0], _axis(args[0], args[1], 1)
    if axis is None:
        return None
    shape, strides = list(x.shape), list(x.stride())
    strides.insert(axis, shape[axis] * strides[axis] if axis < x.dim() else 1)
    shape.insert(axis, 1)
    return _laid(x, shape, strides)


def _expanded(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, shape = args[0], list(args[1])
    if len(shape) != x.dim() or kwargs:
        return None
    strides = list(x.stride())
    for i, extent in enumerate(x.shape):
        shape[i] = extent if shape[i] == -1 else shape[i]
        if shape[i] != extent:
            if extent != 1 or shape[i] < 0:
                return None
            strides[i] = 0
    return _laid(x, shape, strides)


def _part(x: Tensor, axis: int, count: int, step: int = 1) -> Tensor:
    shape, strides = list(x.shape), list(x.stride())
    shape[axis], strides[axis] = count, strides[axis] * step
    return _laid(x, shape, strides)


_WHOLE = (0, None, None, 1)


def _sliced(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    given = [*args[1:], *_WHOLE[len(args) - 1 :]]
    x, axis, (start, end, step) = args[0], _axis(args[0], given[0]), given[1:]
    if axis is None or step < 1 or kwargs:
        return None
    return _part(x, axis, len(range(*slice(start, end, step).indices(x.shape[axis]))), step)


def _selected(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, axis, index = args[0], _axis(args[0], args[1]), args[2]
    if axis is None or not -x.shape[axis] <= index < x.shape[axis]:
        return None
    rest = [i for i in range(x.dim()) if i != axis]
    return _laid(x, [x.shape[i] for i in rest], [x.stride(i) for i in rest])


def _split(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, size, axis = args[0], args[1], _axis(args[0], args[2] if len(args) > 2 else 0)
    if axis is None or not isinstance(size, int) or size < 1 or not x.shape[axis] or kwargs:
        return None
    starts = range(0, x.shape[axis], size)
    return [_part(x, axis, min(size, x.shape[axis] - start)) for start in starts]


def _split_into(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, sizes, axis = args[0], args[1], _axis(args[0], args[2] if len(args) > 2 else 0)
    if axis is None or min(sizes, default=-1) < 0 or sum(sizes) != x.shape[axis] or kwargs:
        return None
    return [_part(x, axis, size) for size in sizes]


VIEWS: Mapping[Any, Formula] = {
    aten.view.default: _reshaped,
    aten._unsafe_view.default: _reshaped,
    aten.t.default: _turned,
    aten.permute.default: _permuted,
    aten.transpose.int: _transposed,
    aten.unsqueeze.default: _unsqueezed,
    aten.expand.default: _expanded,
    aten.slice.Tensor: _sliced,
    aten.select.int: _selected,
    aten.split.Tensor: _split,
    aten.split_with_sizes.default: _split_into,
}
