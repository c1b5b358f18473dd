"""The names that stand for something in a checkpoint: for descriptions, never for calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lrpc.models.checkpoints.records import (
    Array,
    Broken,
    DType,
    Foreign,
    Known,
    Latin1,
    Pairs,
    Storage,
    View,
)

Make = Callable[[tuple[Any, ...]], Any]

_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
    "QInt8": torch.qint8,
    "QUInt8": torch.quint8,
    "QInt32": torch.qint32,
    "QUInt4x2": torch.quint4x2,
    "QUInt2x4": torch.quint2x4,
}
#: Classes of tensors that hold nothing but their values.
_PLAIN = ("torch.Tensor", "torch.nn.parameter.Parameter")
#: Ways to build a tensor that weights do not have here, with what they are.
_FOREIGN = {
    "torch.storage._load_from_bytes": "a tensor that pickle.dump wrote",
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_qtensor": "a quantized tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor without values (meta)",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of a class of its own",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "a tensor of another device",
    "torch._utils._rebuild_device_tensor_from_numpy": "a tensor of another device",
}


def _part(values: tuple[Any, ...], index: int) -> Any:
    if index >= len(values):
        raise Broken("a tensor lacks a part of its description")
    return values[index]


def _tensor(values: tuple[Any, ...]) -> Any:
    """(storage, offset, shape, stride, …, metadata): `_rebuild_tensor` and its second form."""
    storage = _part(values, 0)
    if isinstance(storage, Foreign):
        return storage
    if not isinstance(storage, Storage):
        raise Broken("a tensor has no storage")
    metadata = values[6] if len(values) > 6 else None
    if not isinstance(metadata, dict | None):
        raise Broken("a tensor's metadata has another form")
    if metadata and any(metadata.values()):
        return Foreign("a conjugated or negated view", tensor=True)
    return View(storage, storage.dtype, values[1], _part(values, 2), _part(values, 3))


def _typed_tensor(values: tuple[Any, ...]) -> Any:
    """The same with its type at the seventh place: `_rebuild_tensor_v3`."""
    found, dtype = _tensor(values[:6]), _part(values, 6)
    if isinstance(found, View):
        if not isinstance(dtype, torch.dtype):
            raise Broken("a tensor's type is none")
        return View(found.storage, dtype, found.offset, found.shape, found.stride)
    return found


def _first(values: tuple[Any, ...]) -> Any:
    """A parameter is its tensor, a size its tuple."""
    return values[0] if values else ()


def _of_type(values: tuple[Any, ...]) -> Any:
    """(function, class, arguments, state): a tensor that attributes were set on."""
    function, kind, arguments = (_part(values, i) for i in range(3))
    named = isinstance(function, Known) and function.make in (_tensor, _typed_tensor, _first)
    what = kind.what if isinstance(kind, Foreign) else ""
    if not named or what not in _PLAIN or not isinstance(arguments, tuple):
        own = "a class of its own" if what in _PLAIN else what or "no class of tensors"
        return Foreign(f"a tensor of {own}", tensor=True)
    return function.make(arguments)


def _ordered(values: tuple[Any, ...]) -> Any:
    """An ordered mapping: empty at first, or made from a list of pairs, as Python 2 writes it."""
    return Pairs(values[0]) if values else {}


def _encoded(values: tuple[Any, ...]) -> Any:
    if len(values) != 2 or not isinstance(values[0], str) or values[1] != "latin1":
        raise Broken("bytes are encoded in an unknown way")
    return Latin1(values[0])


def _no_bytes(values: tuple[Any, ...]) -> Any:
    """How protocols below 3 write empty bytes."""
    if values:
        raise Broken("bytes are encoded in an unknown way")
    return Latin1("")


def _dtype(values: tuple[Any, ...]) -> Any:
    text = _part(values, 0)
    return DType(text) if isinstance(text, str) and len(text) < 16 else Foreign("an array type")


def _scalar(values: tuple[Any, ...]) -> Any:
    return Array(_part(values, 0), (), values[1] if len(values) > 1 else None)


def _from_buffer(values: tuple[Any, ...]) -> Any:
    """(data, type, shape, order), as protocol 5 writes arrays."""
    return Array(_part(values, 1), _part(values, 2), values[0], _part(values, 3) == "F")


def _array(values: tuple[Any, ...]) -> Any:
    """(class, …): an array that the stream fills."""
    kind = _part(values, 0)
    if isinstance(kind, Foreign):
        return kind
    if not isinstance(kind, Known) or kind.make is not _bare_array:
        raise Broken("an array is of no class of arrays")
    return Array()


def _bare_array(values: tuple[Any, ...]) -> Any:
    raise Broken("an array has no values")


def _foreign(what: str) -> Make:
    return lambda values: Foreign(what, tensor=True)


def _types() -> dict[str, torch.dtype]:
    return {
        f"torch.{name}": value
        for name, value in sorted(vars(torch).items())
        if isinstance(value, torch.dtype)
    }


def _names() -> dict[str, Known]:
    makes: dict[str, Make] = {
        "collections.OrderedDict": _ordered,
        "collections.defaultdict": lambda values: {},
        "torch.Size": _first,
        "_codecs.encode": _encoded,
        "builtins.bytes": _no_bytes,
        "numpy.dtype": _dtype,
        "numpy.ndarray": _bare_array,
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _typed_tensor,
        "torch._utils._rebuild_parameter": _first,
        "torch._utils._rebuild_parameter_with_state": _first,
        "torch._tensor._rebuild_from_type_v2": _of_type,
        **{name: _foreign(what) for name, what in _FOREIGN.items()},
    }
    for core in ("numpy.core", "numpy._core"):
        makes[f"{core}.multiarray._reconstruct"] = _array
        makes[f"{core}.multiarray.scalar"] = _scalar
        makes[f"{core}.numeric._frombuffer"] = _from_buffer
    values: dict[str, Any] = _types()
    values |= {
        f"torch.{cuda}{name}Storage": dtype
        for cuda in ("", "cuda.")
        for name, dtype in _STORAGES.items()
    }
    values["torch.storage.UntypedStorage"] = torch.uint8
    return {
        **{name: Known(make) for name, make in makes.items()},
        **{name: Known(value=value) for name, value in values.items()},
    }


#: Every name that stands for something.
NAMES = _names()
