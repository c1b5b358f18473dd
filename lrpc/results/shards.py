"""Safetensors files of many tensors, written and read one tensor at a time.

The format is safetensors': eight bytes with the length of a JSON header, the header with the type,
shape and place of each tensor, then the numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from lrpc.errors import ProgramError
from lrpc.results.layout import damaged
from lrpc.support.files import complete, shown

_TYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "I32": np.int32}
_SIZES = {name: np.dtype(kind).itemsize for name, kind in _TYPES.items()}


class Stored(NamedTuple):
    """A tensor of a file: its name there, and the one that it gets."""

    file: Path
    key: str
    name: str


def merge(path: Path, tensors: Iterable[Stored]) -> None:
    """Write one file of tensors that lie in others, with no more than one of them in memory.

    They stand in their order, but numbers of more bytes first, so that each lies at a multiple of
    its own. Raises ProgramError.
    """
    found = []
    for one in tensors:
        with opened(one.file) as file:
            slice_ = file.get_slice(one.key)
            found.append((one, slice_.get_dtype(), list(slice_.get_shape())))
    found.sort(key=lambda item: -_SIZES[item[1]])
    header: dict[str, Any] = {}
    place = 0
    for one, kind, shape in found:
        end = place + int(np.prod(shape, dtype=np.int64)) * _SIZES[kind]
        header[one.name] = {"dtype": kind, "shape": shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with complete(path) as part, open(part, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for one, _, _ in found:
            with opened(one.file) as file:
                out.write(np.ascontiguousarray(file.get_tensor(one.key)).data)


def opened(path: Path) -> Any:
    """A safetensors file, for reading single tensors as arrays; raises ProgramError."""
    try:
        return safe_open(path, framework="np")
    except (OSError, SafetensorError) as error:
        raise damaged(path) from error


def tensor(path: Path, key: str) -> NDArray[Any]:
    """One tensor of a file; raises ProgramError."""
    with opened(path) as file:
        try:
            found: NDArray[Any] = file.get_tensor(key)
        except SafetensorError as error:
            raise ProgramError(f"{shown(path)}: has no {key}") from error
    return found


def record(path: Path) -> tuple[dict[str, Any], float]:
    """The record of an image in its own file, and the seconds that it took; raises ProgramError."""
    with opened(path) as file:
        notes = file.metadata() or {}
    try:
        told = json.loads(notes["record"])
        return told | {"number": int(told["number"])}, float(notes["seconds"])
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path) from error
