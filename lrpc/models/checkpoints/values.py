"""Descriptions of tensors and arrays → tensors, once their sizes are held against the file."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrpc.errors import WeightsError
from lrpc.models.checkpoints.records import Array, Broken, Budget, DType, Foreign, Latin1, View

#: Types that weights may have.
DTYPES = frozenset(
    {
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
        *(torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
        *(torch.complex64, torch.complex128),
    }
)
#: What an expanded tensor, or one under several shapes, may take beyond twice the file.
SLACK = 64 << 20
_LARGEST = 2**62  # of a shape's product, and of an index
_DIMENSIONS = 64
_KINDS = {
    **dict.fromkeys("SUa", "text"),
    **dict.fromkeys("Mm", "times"),
    "O": "objects",
    "V": "records",
}
_ARRAY_TYPE = re.compile(r"[<>=|]?([biufcSUVOaMm?])(\d*)")


class Values:
    """Makes the tensors of one file of `size` bytes; what is one tensor there is one here."""

    def __init__(self, size: int) -> None:
        self._budget = Budget(2 * size + SLACK)
        self._done: dict[Any, Tensor] = {}

    def tensor(self, name: str, value: Any) -> Tensor:
        """The tensor that `value` describes, under `name`. Raises Broken where it claims more than
        the file holds, and WeightsError (without the file's name) for what is no weight."""
        if isinstance(value, View):
            return self._view(name, value)
        if isinstance(value, Array):
            return self._array(name, value)
        plain = type(value).__name__ if type(value).__module__ == "builtins" else "something else"
        what = value.shown if isinstance(value, Foreign) else plain
        if isinstance(value, Foreign) and value.tensor:
            raise WeightsError(f"{name} is {what}; store it dense, in float32, with torch.save")
        raise WeightsError(f"{name} is no tensor but {what}; {_ALONE}")

    def _view(self, name: str, view: View) -> Tensor:
        check_dtype(name, view.dtype)
        shape, stride = _sizes(view.shape), _sizes(view.stride)
        (offset,) = _sizes((view.offset,))
        if len(shape) != len(stride):
            raise Broken("a tensor's strides do not fit its shape")
        item = view.dtype.itemsize
        identity = (id(view.storage), view.dtype, offset, shape, stride)
        if identity not in self._done:
            count = _count(shape)
            last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
            if count and (last + 1) * item > view.storage.size:
                raise Broken("a tensor reaches beyond its storage")
            self._budget.spend(count * item)
            self._done[identity] = (
                _strided(view, shape, stride, offset)
                if count
                else torch.empty(shape, dtype=view.dtype)
            )
        return self._done[identity]

    def _array(self, name: str, array: Array) -> Tensor:
        dtype = _array_dtype(name, array.dtype)
        shape = _sizes(array.shape)
        identity = (id(array),)
        if identity not in self._done:
            count = _count(shape) * dtype.itemsize
            self._budget.spend(count)
            data = array.data
            if isinstance(data, Latin1):
                data = data.text
            if isinstance(data, str):
                data = data.encode("latin1")
            if not isinstance(data, bytes | memoryview) or len(data) != count:
                raise Broken("an array has fewer or more values than its shape says")
            values = np.frombuffer(data, dtype).reshape(shape, order="F" if array.fortran else "C")
            own = np.array(values, dtype=dtype.newbyteorder("="), order="C")
            try:
                self._done[identity] = torch.from_numpy(own)
            except TypeError:
                raise WeightsError(
                    f"{name} is a NumPy array of {own.dtype}; store it as float32"
                ) from None
        return self._done[identity]


_ALONE = "save the model's state dict"


def check_dtype(name: str, dtype: torch.dtype) -> None:
    """Raises WeightsError for a type that weights do not have."""
    if dtype not in DTYPES:
        text = str(dtype).removeprefix("torch.")
        raise WeightsError(f"{name} is of {text}, which is no type of weights; store it as float32")


def check_values(name: str, tensor: Tensor) -> None:
    """Raises WeightsError for truth values that are neither, and for an empty tensor whose other
    extents no arithmetic holds."""
    if tensor.dtype == torch.bool and tensor.numel() and int(tensor.view(torch.uint8).max()) > 1:
        raise WeightsError(f"{name} holds truth values that are neither; get an intact copy")
    if math.prod(n for n in tensor.shape if n) >= _LARGEST:
        raise WeightsError(f"{name} has an impossible shape; get an intact copy")


def _strided(view: View, shape: tuple[int, ...], stride: tuple[int, ...], offset: int) -> Tensor:
    item = view.dtype.itemsize
    data = view.storage.values()
    whole = data[: data.numel() // item * item].view(view.dtype)
    return whole.as_strided(shape, stride, offset)


def _sizes(numbers: Any) -> tuple[int, ...]:
    if not isinstance(numbers, tuple | list) or len(numbers) > _DIMENSIONS:
        raise Broken("a tensor's shape is none")
    if not all(type(n) is int and 0 <= n < _LARGEST for n in numbers):
        raise Broken("a tensor's shape is none")
    return tuple(numbers)


def _count(shape: tuple[int, ...]) -> int:
    """The number of elements. An empty tensor's other extents must not overflow either."""
    if math.prod(n for n in shape if n) >= _LARGEST:
        raise Broken("a tensor's shape is none")
    return math.prod(shape)


def _array_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    match = _ARRAY_TYPE.fullmatch(dtype.text) if isinstance(dtype, DType) else None
    if match is None or match[1] not in "biufc?" or len(match[2]) > 2:
        kind = None if match is None else _KINDS.get(match[1], match[0])
        what = "no array of numbers" if kind is None else f"a NumPy array of {kind}"
        raise WeightsError(f"{name} is {what}; {_ALONE}")
    try:
        made = np.dtype(f"{match[1]}{match[2]}")
    except TypeError:
        raise Broken("an array's type is none") from None
    if made.itemsize > 16:
        raise Broken("an array's type is none")
    swapped = dtype.order in "<>" and len(dtype.order) == 1
    return made.newbyteorder(dtype.order) if swapped else made
