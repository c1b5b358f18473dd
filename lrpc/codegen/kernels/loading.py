"""How a generated program checks and reads its files, and refuses what does not fit it."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WEIGHTS = "weights.safetensors"


class ProgramError(Exception):
    """Weights, inputs or requests that do not match this program."""


def check_finite(value: Tensor, what: str, remedy: str) -> None:
    """Refuse NaN and infinity in floating tensors."""
    known = value.is_floating_point() and value.numel()
    if known and not bool(torch.stack(value.aminmax()).isfinite().all()):  # needs no memory
        raise ProgramError(f"{what} holds NaN or infinity; {remedy}")


def check_input(name: str, value: Tensor, dtype: str, shape: Sequence[int | str]) -> None:
    """Refuse another dtype or shape than compiled for, and non-finite values."""
    if not isinstance(value, Tensor):
        raise ProgramError(f"input {name} must be a torch.Tensor, got {type(value).__name__}")
    wanted = ", ".join(map(str, shape))
    fits = value.dim() == len(shape) and all(
        s == "B" or s == n for s, n in zip(shape, value.shape, strict=True)
    )
    if not fits:
        raise ProgramError(
            f"input {name} must have shape [{wanted}], got {list(value.shape)}: this program"
            f" holds one"
            " size (B is free); resize or pad the image, or compile with LRPC.SHAPES for that size"
        )
    if str(value.dtype) != dtype:
        raise ProgramError(f"input {name} must be {dtype}, got {value.dtype}")
    if 0 in value.shape:
        raise ProgramError(f"input {name} is an empty batch")
    check_finite(value, f"input {name}", "repair the data")


def check_files(directory: Path, manifest: Mapping[str, Any], running: str) -> None:
    """Refuse a directory whose files are not the ones the manifest was written for, and one that
    was written anew after this program, whose text has the sha256 `running`, was imported.

    The weights are held against it when they are read.
    """
    for name, wanted in manifest["sha256"].items():
        path = directory / name
        if not path.is_file():
            raise ProgramError(f"{path} is missing; compile the program again")
        if name != WEIGHTS:
            check_hash(path, path.read_bytes(), wanted)
        if name == "program.py" and running != wanted:
            raise ProgramError(
                f"{directory} was compiled again since this program was imported; import it anew"
            )


def check_hash(path: Path, data: bytes | bytearray, wanted: str) -> None:
    """Refuse a file of another content than the manifest states."""
    if hashlib.sha256(data).hexdigest() != wanted:
        raise ProgramError(f"{path} was changed since it was compiled; compile the program again")


SAFETENSORS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_weights(
    path: Path, device: torch.device, left: Sequence[str] = (), sha256: str | None = None
) -> dict[str, Tensor]:
    """The tensors of a safetensors file, aliases included, without those in `left`; what is read
    has this sha256."""
    data = bytearray(path.read_bytes())
    if sha256 is not None:
        check_hash(path, data, sha256)
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    aliases = json.loads(header.pop("__metadata__", {}).get("aliases", "{}"))
    wanted = {aliases.get(name, name) for name in (*header, *aliases) if name not in set(left)}
    tensors = {}
    for name, entry in header.items():
        if name not in wanted:
            continue
        dtype, shape = SAFETENSORS[entry["dtype"]], entry["shape"]
        first = 8 + length + entry["data_offsets"][0]
        count = math.prod(shape)
        flat = (
            torch.frombuffer(data, dtype=dtype, count=count, offset=first)
            if count
            else torch.empty(0, dtype=dtype)
        )
        tensors[name] = flat.reshape(shape).to(device)
    return tensors | {alias: tensors[name] for alias, name in aliases.items() if name in wanted}


def given_inputs(
    known: Mapping[str, tuple[str, tuple[int | str, ...]]],
    images: Sequence[Tensor],
    named: Mapping[str, Tensor],
    device: torch.device,
) -> dict[str, Tensor]:
    """What `forward` was given, by name, checked against the inputs it takes."""
    names = list(known)
    given = dict(zip(names, images, strict=False)) | dict(named)
    if len(images) > len(names) or given.keys() != set(names):
        raise ProgramError(f"forward takes {', '.join(names)}; got {', '.join(given) or 'nothing'}")
    for name in names:
        check_input(name, given[name], *known[name])
    return {name: given[name].to(device) for name in names}


def batch_of(
    known: Mapping[str, tuple[str, tuple[int | str, ...]]], inputs: Mapping[str, Tensor]
) -> int:
    """The number of images, which all inputs have in common."""
    sizes = {
        name: value.shape[shape.index("B")]
        for name, value in inputs.items()
        if "B" in (shape := known[name][1])
    }
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ProgramError(f"inputs hold different numbers of images: {told}")
    return next(iter(sizes.values()), 1)
