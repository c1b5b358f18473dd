"""Tensors as the bytes of a safetensors file: the same tensors give the same bytes."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

CODES = {
    "uint64": "U64", "int64": "I64", "float64": "F64", "complex64": "C64", "float32": "F32",
    "uint32": "U32", "int32": "I32", "bfloat16": "BF16", "float16": "F16", "uint16": "U16",
    "int16": "I16", "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "int8": "I8", "uint8": "U8",
    "bool": "BOOL",
}  # fmt: skip
"""The codes of dtypes, in the order in which tensors stand in a file: the widest first."""

_START = 256
"""Bytes that tell most tensors apart, so that few are read whole."""


def distinct(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Split into tensors to store and aliases of them, the first name in sorted order stored.
    Tensors are one if they are equal bit for bit."""
    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    starts = {name: (t.dtype, t.shape, bytes(_bytes(t)[:_START])) for name, t in plain.items()}
    alike = Counter(starts.values())
    names: dict[tuple[object, ...], str] = {}
    stored: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    for name, start in starts.items():
        whole = hashlib.sha256(_bytes(plain[name]).data).digest() if alike[start] > 1 else b""
        first = names.setdefault((*start, whole), name)
        if first != name:
            aliases[name] = first
        else:
            stored[name] = plain[name]
    return stored, aliases


def file_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The safetensors file of contiguous tensors on the CPU, its metadata in sorted order."""
    ranks = {code: rank for rank, code in enumerate(CODES.values())}
    codes = {name: CODES[str(t.dtype).removeprefix("torch.")] for name, t in tensors.items()}
    header: dict[str, object] = {}
    if metadata:
        header["__metadata__"] = dict(sorted(metadata.items()))
    parts, end = [], 0
    for name in sorted(tensors, key=lambda name: (ranks[codes[name]], name)):
        data = _little(tensors[name])
        start, end = end, end + data.nbytes
        entry = {"dtype": codes[name], "shape": list(tensors[name].shape)}
        header[name] = entry | {"data_offsets": [start, end]}
        parts.append(data.data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((struct.pack("<Q", len(text)), text, *parts))


def _bytes(tensor: Tensor) -> NDArray[Any]:
    """The bytes of a contiguous tensor, as they lie in memory."""
    flat: NDArray[Any] = tensor.flatten().view(torch.uint8).numpy()
    return flat


def _little(tensor: Tensor) -> NDArray[Any]:
    """The same with the lowest byte of each number first."""
    data = _bytes(tensor)
    if sys.byteorder == "little":
        return data
    width = tensor.element_size() // (2 if tensor.is_complex() else 1)
    return data.reshape(-1, width)[:, ::-1].reshape(-1)
