"""Checkpoints in and out: `.pth`, `.pt`, detectron2's `.pkl`, and safetensors."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lrpc.errors import WeightsError
from lrpc.unpickle import read_arrays, read_torch

_ALIASES = "aliases"
_SUFFIXES = (".pth", ".pt", ".pkl", ".safetensors")


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the state dict in the checkpoint at `path`, on the CPU and in its own dtypes.

    Tensors that are one in the file are one in the result. Nothing in the file is ever executed.
    Raises WeightsError, in one line, for a file that is missing, damaged or of another kind, that
    wants to run code, or that holds NaN or infinity.
    """
    if "://" in str(path):
        raise WeightsError(f"{path}: is not a file; download it and set MODEL.WEIGHTS to its path")
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise WeightsError(f"{path}: unknown kind of file; expected {', '.join(_SUFFIXES)}")
    try:
        tensors = _read(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WeightsError(f"{path}: {reason}; check the path") from error
    _check_finite(path, tensors)
    return tensors


def save_weights(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write `tensors` as safetensors, each distinct one once; the same input gives the same bytes.

    Tensors are one if they are equal bit for bit, whether or not they share memory. Further names
    of one are kept in the metadata entry "aliases" (JSON, name → stored name), so `metadata` may
    not have that key. The file appears under its name once it is complete.
    """
    data = serialize_weights(tensors, metadata)
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        try:
            partial.write_bytes(data)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WeightsError(f"{target}: cannot be written: {reason}") from error


def serialize_weights(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return the bytes that `save_weights` writes."""
    stored, aliases = _distinct(tensors)
    entries = dict(metadata or {})
    if _ALIASES in entries:
        raise WeightsError(f'the metadata key "{_ALIASES}" is taken; rename yours')
    if aliases:
        entries[_ALIASES] = json.dumps(aliases, sort_keys=True, separators=(",", ":"))
    for name in stored:
        if not name.isprintable() and any("\ud800" <= c <= "\udfff" for c in name):
            raise WeightsError(f"weight {name!r:.80}: a name that is no Unicode text; rename it")
    return _with_metadata(safetensors.torch.save(stored), entries)


def cast_floating(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return `tensors` with the floating ones in `dtype`; what was one tensor stays one."""
    done: dict[tuple[Any, ...], Tensor] = {}
    result = {}
    for name, tensor in tensors.items():
        identity = _identity(name, tensor)
        if identity not in done:
            done[identity] = tensor.to(dtype) if tensor.is_floating_point() else tensor
        result[name] = done[identity]
    return result


def file_sha256(path: str | Path) -> str:
    """Return the sha256 (hex) of the bytes of the file at `path`."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = read_arrays(path) if path.suffix == ".pkl" else read_torch(path)
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path}: holds no tensors by name; save the model's state dict")
    return {str(name): _tensor(path, str(name), value) for name, value in content.items()}


def _tensor(path: Path, name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        array = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
        try:
            return torch.from_numpy(array)
        except TypeError:
            raise WeightsError(
                f"{path}: {name} is a NumPy array of {array.dtype}; store it as float32"
            ) from None
    raise WeightsError(
        f"{path}: {name} is no tensor but {type(value).__name__}; save the model's state dict"
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise OSError(None, "is a directory" if path.is_dir() else "no such file or directory")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = (file.metadata() or {}).get(_ALIASES, "{}")
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a whole safetensors file; get an intact copy") from error
    return tensors | _aliases(path, text, tensors)


def _aliases(path: Path, text: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    try:
        return {name: tensors[stored] for name, stored in json.loads(text).items()}
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise WeightsError(
            f'{path}: the metadata entry "{_ALIASES}" does not fit the file; write it anew'
        ) from error


def _check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    found = not_finite(tensors)
    if found:
        raise WeightsError(f"{path}: {found}; get an intact copy")


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Where there is NaN or infinity, in a few words; empty where there is none."""
    bad = {
        name: int((~torch.isfinite(tensor)).sum())
        for name, tensor in tensors.items()
        if tensor.is_floating_point()
    }
    bad = {name: count for name, count in bad.items() if count}
    if not bad:
        return ""
    name, count = next(iter(bad.items()))
    more = f" and {len(bad) - 1} other tensors" if len(bad) > 1 else ""
    return f"NaN or infinity in {name} ({count} of {tensors[name].numel()} values){more}"


def _identity(name: str, tensor: Tensor) -> tuple[Any, ...]:
    """Equal for two names if they give the same values in the same memory."""
    if tensor.numel() == 0:
        return (name,)
    place = (str(tensor.device), tensor.data_ptr(), tensor.dtype)
    return (*place, tuple(tensor.shape), tensor.stride())


def _distinct(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Split into tensors to store and aliases of them, the first name in sorted order stored."""
    names: dict[tuple[object, ...], str] = {}
    stored: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    for name in sorted(tensors):
        # A copy, since two different views of one memory may not share it in the file.
        tensor = tensors[name].detach().cpu().clone(memory_format=torch.contiguous_format)
        data = tensor.flatten().view(torch.uint8).numpy()
        content = (tensor.dtype, tensor.shape, hashlib.sha256(data.tobytes()).digest())
        first = names.setdefault(content, name)
        if first != name:
            aliases[name] = first
        else:
            stored[name] = tensor
    return stored, aliases


def _with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """Put `metadata` into a safetensors header in sorted order; the library's own order varies."""
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    if metadata:
        header = {"__metadata__": dict(sorted(metadata.items())), **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + size :]
