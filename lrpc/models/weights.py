"""Checkpoints in and out: what torch.save writes, detectron2's `.pkl`, and safetensors."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrpc.errors import WeightsError
from lrpc.models.checkpoints import Broken, Values, check_dtype, check_values, read_checkpoint
from lrpc.models.checkpoints.entries import ENTRY_KEY, find_entry
from lrpc.models.checkpoints.safetensors_file import ALIASES, INDEX, read_index, read_safetensors
from lrpc.models.serialize import distinct, file_of

__all__ = [
    "ENTRY_KEY",
    "Loaded",
    "file_sha256",
    "load_weights",
    "not_finite",
    "read_weights",
    "save_weights",
    "serialize_weights",
    "shown",
    "weights_sha256",
]
_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pkl", ".safetensors")
_SHOWN = 120  # characters of a name in a message


@dataclass(frozen=True)
class Loaded:
    """A state dict, and in a few words which of several in the file it is (empty: the only one)."""

    tensors: dict[str, Tensor]
    note: str = ""


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the model's own state dict in the checkpoint at `path`; as `read_weights` does."""
    return read_weights(path).tensors


def read_weights(path: str | Path, entry: str = "") -> Loaded:
    """Return the state dict in the checkpoint at `path`, on the CPU and in its own dtypes.

    `entry` names one of several in the file (a key, keys with dots between, or a prefix of names);
    without it the model's own is taken, and the note says what lies beside it. Tensors that are one
    in the file are one in the result. Nothing in the file is ever executed, and time and memory are
    linear in its size; values of classes that are not known are left out. Raises WeightsError, in
    one line, for a file that is missing, damaged or of another kind, for a state dict that holds
    other things than tensors, and for NaN or infinity.
    """
    if "://" in str(path):
        raise WeightsError(f"{path}: is not a file; download it and set MODEL.WEIGHTS to its path")
    path = Path(path)
    if path.suffix not in _SUFFIXES and not path.name.endswith(INDEX):
        raise WeightsError(
            f"{path}: unknown kind of file; expected {', '.join(_SUFFIXES)} or NAME{INDEX}"
        )
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise WeightsError("is no regular file; check the path")
        loaded = _read(path, entry)
    except Broken as error:
        raise WeightsError(
            f"{path}: not a whole checkpoint ({error}); get an intact copy"
        ) from error
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except MemoryError as error:
        raise WeightsError(
            f"{path}: does not fit into memory; give more, or a smaller file"
        ) from error
    except (OSError, ValueError) as error:  # a ValueError: a zero byte in the path
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise WeightsError(f"{path}: {reason}; check the path") from error
    _check(path, loaded.tensors)
    return loaded


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
    stored, aliases = distinct(tensors)
    entries = dict(metadata or {})
    if ALIASES in entries:
        raise WeightsError(f'the metadata key "{ALIASES}" is taken; rename yours')
    if aliases:
        entries[ALIASES] = json.dumps(aliases, sort_keys=True, separators=(",", ":"))
    for name in stored:
        if not name.isprintable() and any("\ud800" <= c <= "\udfff" for c in name):
            raise WeightsError(f"weight {name!r:.80}: a name that is no Unicode text; rename it")
    return file_of(stored, entries)


def file_sha256(path: str | Path) -> str:
    """Return the sha256 (hex) of the bytes of the file at `path`."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(path: str | Path) -> str:
    """Return the sha256 (hex) of a checkpoint; an index stands for itself and its shards."""
    path = Path(path)
    if not path.name.endswith(INDEX):
        return file_sha256(path)
    files = [path, *(path.with_name(file) for file in sorted(read_index(path)))]
    return hashlib.sha256("".join(file_sha256(file) for file in files).encode()).hexdigest()


def _read(path: Path, entry: str) -> Loaded:
    if path.name.endswith(INDEX):
        tensors: dict[str, Tensor] = {}
        for file, names in read_index(path).items():
            shard = read_weights(path.with_name(file)).tensors
            absent = [name for name in names if name not in shard]
            if absent:
                raise WeightsError(f"{file} lacks {shown(absent[0])}; get an intact copy")
            tensors |= {name: shard[name] for name in names}
        return _entry(path, tensors, entry)
    content = read_safetensors(path) if path.suffix == ".safetensors" else read_checkpoint(path)
    return _entry(path, content, entry)


def _entry(path: Path, content: Any, wanted: str) -> Loaded:
    """The tensors of one entry; a module's own extra state beside them is none."""
    if path.suffix == ".safetensors" and not content:
        return Loaded({})  # a program without weights has such a file
    entry = find_entry(content, wanted)
    values = Values(path.stat().st_size)
    tensors = {}
    for name, value in entry.weights.items():
        if not isinstance(name, str):
            raise WeightsError("a tensor's name is not text; save the model's state dict")
        if name.rsplit(".", 1)[-1] != "_extra_state":
            own = isinstance(value, Tensor)
            tensors[name] = value if own else values.tensor(shown(name), value)
    return Loaded(tensors, entry.note)


def shown(name: str) -> str:
    """A tensor's name for a message: bounded, on one line."""
    text = name if name.isprintable() else ascii(name)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _check(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name in tensors:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise WeightsError(
                f"{path}: the name {shown(name)} is no text; save the model's state dict"
            ) from None
    distinct: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in tensors.items():
        distinct.setdefault(id(tensor), (name, tensor))
    for name, tensor in distinct.values():
        try:
            check_dtype(shown(name), tensor.dtype)
            check_values(shown(name), tensor)
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from None
    _check_finite(path, tensors)


def _check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    found = not_finite(tensors)
    if found:
        raise WeightsError(f"{path}: {found}; get an intact copy")


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Where there is NaN or infinity, in a few words; empty where there is none."""
    counts: dict[int, int] = {}  # of a tensor under several names once
    for tensor in tensors.values():
        if (tensor.is_floating_point() or tensor.is_complex()) and id(tensor) not in counts:
            counts[id(tensor)] = int((~torch.isfinite(tensor)).sum())
    bad = {name: counts.get(id(tensor), 0) for name, tensor in tensors.items()}
    bad = {name: count for name, count in bad.items() if count}
    if not bad:
        return ""
    name, count = next(iter(bad.items()))
    more = f" and {len(bad) - 1} other tensors" if len(bad) > 1 else ""
    return f"NaN or infinity in {shown(name)} ({count} of {tensors[name].numel()} values){more}"
