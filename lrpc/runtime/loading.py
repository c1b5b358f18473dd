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
    """Weights, inputs or requests that do not match this program, in one line that only shows."""

    def __init__(self, line: object = "") -> None:
        text = str(line)
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text))


def check_finite(value: Tensor, what: str, remedy: str) -> None:
    """Refuse NaN and infinity in floating tensors."""
    known = value.is_floating_point() and value.numel()
    if known and not bool(torch.stack(value.aminmax()).isfinite().all()):  # needs no memory
        raise ProgramError(f"{what} holds NaN or infinity; {remedy}")


def program_directory(given: Any, own: str) -> Path:
    """The directory that `load` was given, by default the one `own` file is in."""
    try:
        directory = Path(own).resolve().parent if given is None else Path(given)
        there = directory.is_dir()
    except (TypeError, ValueError, OSError) as error:
        raise ProgramError(f"path={given!r} is not the path of a program directory") from error
    if not there:
        raise ProgramError(f"{directory}: no such directory; give the one that holds program.py")
    if not (directory / "manifest.json").is_file():
        raise ProgramError(f"{directory}: not a program directory, it lacks manifest.json")
    return directory


def usable_device(given: Any) -> torch.device:
    """The device to compute on, which torch must know and see here."""
    if isinstance(given, bool) or not isinstance(given, str | int | torch.device):
        raise ProgramError(f'device must be a name, as in device="cuda", got {given!r}')
    try:
        device = torch.device(given)
    except RuntimeError:
        known = '"cpu", "cuda" or "cuda:N"'
        raise ProgramError(f"device={given!r} is no device of torch; give {known}") from None
    if device.type == "meta":
        raise ProgramError('device="meta" has no numbers to compute with; give "cpu" or "cuda"')
    if device.type != "cpu":
        module = getattr(torch, device.type, None)
        count = module.device_count() if module is not None and module.is_available() else 0
        if not count:
            raise ProgramError(f'device={given!r}: torch sees no such device here; use "cpu"')
        if device.index is not None and not 0 <= device.index < count:
            raise ProgramError(f"device={given!r}: torch sees {count} here, counted from 0")
    return device


def check_files(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a directory whose files are not the ones the manifest was written for. The weights are
    held against it when they are read."""
    for name in manifest["sha256"]:
        if name != WEIGHTS:
            own_file(directory, name, manifest)
        elif not (directory / name).is_file():
            raise ProgramError(f"{directory / name} is missing; compile the program again")


def own_file(directory: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    """A file of the directory, as the manifest was written for it."""
    path = directory / name
    if not path.is_file():
        raise ProgramError(f"{path} is missing; compile the program again")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ProgramError(f"{path} cannot be read: {error.strerror}") from error
    check_hash(path, data, manifest["sha256"][name])
    return data


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
