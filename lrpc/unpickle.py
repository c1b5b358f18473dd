"""Reads pickled checkpoints without running anything that they name: tensors and arrays only."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray

from lrpc.errors import WeightsError

#: What a damaged or hostile stream makes the readers raise.
BROKEN = (
    *(pickle.UnpicklingError, EOFError, RuntimeError, ValueError, TypeError, KeyError, IndexError),
    *(AttributeError, ImportError, AssertionError, MemoryError, OverflowError, struct.error),
)
_DTYPES = ("Bool", *(f"{u}Int{n}" for u in ("", "U") for n in (8, 16, 32, 64)))
_DTYPE_CLASSES = frozenset(
    f"numpy.dtypes.{name}DType" for name in (*_DTYPES, "Float16", "Float32", "Float64")
)
#: The wordings in which torch names what it will not build.
_NAMED = re.compile(
    r"Unsupported global: GLOBAL (\S+) was not"
    r"|unsupported GLOBAL (\S+) whose module"
    r"|via `add_safe_globals`, but got <class '([\w.]+)'>"
)


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, with which Python 2 bytes are written."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text encoded as {encoding!r}")
    return text.encode("latin1")


#: The only names that a checkpoint may mention, with what they become.
_ALLOWED: dict[str, Any] = {
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    **{
        f"numpy.{core}.multiarray.{name}": getattr(multiarray, name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    },
    "_codecs.encode": _encode,
    "collections.OrderedDict": OrderedDict,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[f"{module}.{name}"]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


class _Refused(Exception):
    """A name outside the list of allowed ones; holds that name."""


def read_arrays(path: Path) -> Any:
    """Return what a detectron2 `.pkl` holds: nested dicts and lists of NumPy arrays."""
    try:
        with path.open("rb") as file:
            return _ArrayUnpickler(file, encoding="latin1").load()
    except _Refused as error:
        raise _refusal(path, str(error)) from None
    except BROKEN as error:
        raise WeightsError(f"{path}: not a whole pickle file; get an intact copy") from error


def read_torch(path: Path) -> Any:
    """Return what `torch.save` wrote: tensors, plain values, and NumPy scalars and arrays."""
    allowed: list[Any] = []
    names: set[str] = set()
    while True:
        try:
            with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # about the stream's protocol
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            found = _NAMED.search(str(error))
            if found is None:
                raise WeightsError(f"{path}: not a whole checkpoint; get an intact copy") from error
            name = next(filter(None, found.groups()))
            if name in names or not (name in _ALLOWED or name in _DTYPE_CLASSES):
                raise _refusal(path, name) from None
            names.add(name)
            allowed.append(_allowance(name))
        except BROKEN as error:
            raise WeightsError(f"{path}: not a whole checkpoint; get an intact copy") from error


def _allowance(name: str) -> Any:
    if name in _DTYPE_CLASSES:
        return getattr(np.dtypes, name.rsplit(".", 1)[1])
    return (_ALLOWED[name], name)


def _refusal(path: Path, name: str) -> WeightsError:
    return WeightsError(
        f"{path}: refused, it names {name}, which is neither a tensor nor a NumPy array; "
        "save the model's state dict alone"
    )
