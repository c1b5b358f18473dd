"""The two forms of file that `torch.save` writes: a zip archive, and the older row of streams."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrpc.errors import WeightsError
from lrpc.models.checkpoints.known import NAMES
from lrpc.models.checkpoints.opcodes import read_stream
from lrpc.models.checkpoints.records import Broken, Foreign, Storage

ZIP_START = b"PK\x03\x04"
_MAGIC = 0x1950A86A20F9469CFC6C  # the first stream of the older form
_LOCAL = struct.Struct("<4s22xHH")  # a zip member's own header: signature, lengths of two texts
#: Bytes of the stream that describes the tensors of a zip archive: some hundred thousand of them.
DESCRIPTION = 64 << 20
#: Bytes of an archive's table of contents: some hundred thousand storages.
DIRECTORY = 16 << 20
_TAIL = 1 << 17  # bytes at the end of an archive in which the table's place and size stand


def read_zip(path: Path) -> Any:
    """The content of a zip archive: storages are read when they are asked for.

    Raises Broken or WeightsError; members must be stored as they are, and in all they are
    no larger than the file.
    """
    size = path.stat().st_size
    _check_directory(path, size)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, struct.error):
        raise Broken("its table of contents does not fit it") from None
    if any(name.count("/") > 1 and name.split("/")[1] == "code" for name in members):
        raise WeightsError("is a TorchScript model, which is code; save the model's state dict")
    if any(
        info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in members.values()
    ):
        raise WeightsError("is a compressed archive; write it with torch.save")
    if sum(info.file_size for info in members.values()) > size:
        raise Broken("its members are larger than the file")
    roots = [name[: -len("data.pkl")] for name in members if name.count("/") == 1]
    roots = [root for root in roots if f"{root}data.pkl" in members and root.endswith("/")]
    if not roots:
        raise WeightsError("is an archive without a checkpoint; write it with torch.save")
    root = min(roots)
    if members[f"{root}data.pkl"].file_size > DESCRIPTION:
        raise Broken(f"its description of tensors is larger than {DESCRIPTION >> 20} MiB")
    big = f"{root}byteorder" in members and _bytes(path, members[f"{root}byteorder"]) == b"big"
    found: dict[str, Storage | Foreign] = {}

    def storage(identity: Any) -> Any:
        dtype, key, place, _ = _reference(identity)
        info = members.get(f"{root}data/{key}")
        if key not in found:
            if place == "meta":
                found[key] = Foreign("a tensor without values (meta)", tensor=True)
            elif isinstance(dtype, Foreign):
                found[key] = Foreign(f"a tensor in {dtype.what}", tensor=True)
            elif info is None:
                raise Broken("a tensor's values are missing")
            else:
                read = _reader(path, _start(path, info), info.file_size, dtype, big)
                found[key] = Storage(dtype, info.file_size, read)
        return found[key]

    content, _ = read_stream(_bytes(path, members[f"{root}data.pkl"]), 0, NAMES, storage)
    return content


def _check_directory(path: Path, size: int) -> None:
    """Raises Broken where the table of contents, which is read whole, is too large."""
    with path.open("rb") as file:
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
    at = tail.rfind(b"PK\x05\x06")
    wide = tail.rfind(b"PK\x06\x06", 0, max(at, 0))
    length = struct.unpack_from("<I", tail, at + 12)[0] if 0 <= at <= len(tail) - 22 else 0
    if length == 2**32 - 1 and 0 <= wide <= len(tail) - 56:
        (length,) = struct.unpack_from("<Q", tail, wide + 40)
    if length > DIRECTORY:
        raise Broken(f"its table of contents is larger than {DIRECTORY >> 20} MiB")


def read_pickles(path: Path, data: bytes) -> Any:
    """The content of a plain pickle, or of torch's older form, which starts with a number of its
    own: number, version, machine, value, keys, then the values."""
    first, at = read_stream(data, 0, NAMES)
    if type(first) is not int or first != _MAGIC:
        return first
    return _read_legacy(path, data, at)


def _read_legacy(path: Path, data: bytes, at: int) -> Any:
    version, at = read_stream(data, at, NAMES)
    machine, at = read_stream(data, at, NAMES)
    if version != 1001 or not isinstance(machine, dict):
        raise Broken("its version is unknown")
    big = machine.get("little_endian") is False
    found: dict[str, tuple[torch.dtype, Storage]] = {}

    def storage(identity: Any) -> Any:
        if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
            return identity[1]  # a class, with its source
        dtype, key, place, view = _reference(identity)
        if place == "meta":
            return Foreign("a tensor without values (meta)", tensor=True)
        if view is not None:
            raise WeightsError("was written by a torch below 0.4; save it again with a newer one")
        if isinstance(dtype, Foreign):  # of what size is not known
            raise WeightsError(
                f"has values in {dtype.shown}; store them in float32, with torch.save"
            )
        if key not in found:
            found[key] = (dtype, Storage(dtype, 0, lambda: torch.empty(0, dtype=torch.uint8)))
        return found[key][1]

    content, at = read_stream(data, at, NAMES, storage)
    keys, at = read_stream(data, at, NAMES)
    if not isinstance(keys, list) or len(keys) != len(found) or set(map(str, keys)) != set(found):
        raise Broken("a tensor's values are missing")
    for key in keys:
        dtype, one = found[str(key)]
        if at + 8 > len(data):
            raise Broken("it ends too early")
        (count,) = struct.unpack_from("<q", data, at)
        one.size = count * dtype.itemsize
        at += 8
        if count < 0 or one.size > len(data) - at:
            raise Broken("a tensor's values are missing")
        one.read = _reader(path, at, one.size, dtype, big)
        at += one.size
    return content


def _reference(identity: Any) -> tuple[torch.dtype | Foreign, str, Any, Any]:
    """("storage", type, key, device, count, …): type, key, device and, if any, a part of it."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise Broken("it refers to data in an unknown way")
    dtype, key = identity[1:3]
    if not isinstance(dtype, torch.dtype | Foreign) or not isinstance(key, str):
        raise Broken("it refers to data in an unknown way")
    return dtype, key, identity[3], identity[5] if len(identity) == 6 else None


def _start(path: Path, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a zip member start: behind its own header."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(ZIP_START):
        raise Broken("its table of contents does not fit it")
    _, name, extra = _LOCAL.unpack(header)
    return int(info.header_offset + _LOCAL.size + name + extra)


def _bytes(path: Path, info: zipfile.ZipInfo) -> bytes:
    with path.open("rb") as file:
        file.seek(_start(path, info))
        data = file.read(info.file_size)
    if len(data) < info.file_size:
        raise Broken("it ends too early")
    return data


def _reader(
    path: Path, start: int, size: int, dtype: torch.dtype, big: bool
) -> Callable[[], Tensor]:
    """What reads `size` bytes from `start` on; `big`: in the other byte order, to be swapped."""

    def read() -> Tensor:
        data = np.empty(size, dtype=np.uint8)
        with path.open("rb") as file:
            file.seek(start)
            if file.readinto(data.data) != size:
                raise Broken("it ends too early")
        item = dtype.itemsize // (2 if dtype.is_complex else 1)
        if big and item > 1:
            data[: size // item * item].view(f"u{item}").byteswap(inplace=True)
        return torch.from_numpy(data)

    return read
