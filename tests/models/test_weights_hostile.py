"""Hostile checkpoints: one line each, at once, and no more memory than the file has bytes for."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lrpc.errors import WeightsError
from lrpc.models.checkpoints import stream
from lrpc.models.weights import load_weights
from tests.fuzz.checkpoints import run, samples

ROOM = 8 << 20  # bytes that Python may take for a small file
COUNT = 700  # mutated files in the suite


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def long(value: int) -> bytes:
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def entry(value: bytes) -> bytes:
    """A pickle of {"a": value}."""
    return b"\x80\x04}U\x01a" + value + b"s."


def error_of(path: Path, data: bytes) -> str:
    """The line that refuses the file, without its path; it comes at once and takes no memory."""
    path.write_bytes(data)
    tracemalloc.start()
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with pytest.raises(WeightsError) as caught:
            load_weights(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 2
    assert peak < ROOM + 100 * len(data)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10 < 300
    text = str(caught.value)
    assert text.isprintable()
    return text.removeprefix(f"{path}: ")


FLOATS = name("numpy", "dtype") + b"U\x02f4\x85R"
EMPTY = (
    name("numpy.core.multiarray", "_reconstruct")
    + name("numpy", "ndarray")
    + b"K\x00\x85U\x01b\x87R"
)
LAUGHS = b"".join(
    [
        b"N\x85q\x000",
        *(bytes([*b"h", i, *b"h", i, *b"\x86q", i + 1, *b"0"]) for i in range(60)),
        b"h\x3c",
    ]
)  # a tuple of two that are one, 60 times: 2^60 leaves


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\x80\x04}r" + struct.pack("<I", 2**32 - 1) + b".", "holds no tensors by name"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 20 << 30) + b"x", "a length reaches beyond its end"),
        (b"\x80\x04\x96" + struct.pack("<Q", 2**63) + b"x", "a length reaches beyond its end"),
        (b"\x80\x04\x8b\xff\xff\xff\xff.", "a length reaches beyond its end"),
        (b"\x80\x04\x8b" + struct.pack("<I", 5000) + b"x" * 5000, "a number has too many digits"),
        (b"L" + b"9" * 100_000 + b"L\n.", "a number has too many digits"),
        (b"F" + b"9" * 100_000 + b"\n.", "a number has too many digits"),
        (b"\x80\x04" + b"]" * 20_000 + b"a" * 19_999 + b".", "holds no tensors by name"),
        (b"\x80\x04" + b"(" * 20_000, "it ends too early"),
        (entry(LAUGHS), "a is no tensor but tuple"),
        (b"\x80\x04}" + LAUGHS + b"Ns.", "a tensor's name is not text"),
        (entry(name("numpy", "ndarray") + long(10**10) + b"\x85U\x02f4\x86R"), "an array has no"),
        (
            entry(EMPTY + b"(K\x01" + long(10**12) + b"\x85" + FLOATS + b"\x89U\x04abcdtb"),
            "its tensors claim more values than the file holds",
        ),
        (
            entry(EMPTY + b"(K\x01" + long(2**62) + b"\x85" + FLOATS + b"\x89U\x04abcdtb"),
            "a tensor's shape is none",
        ),
        (
            entry(EMPTY + b"(K\x01" + long(4) + b"\x85" + FLOATS + b"\x89U\x04abcdtb"),
            "an array has fewer or more values than its shape says",
        ),
        (entry(EMPTY), "a is no array of numbers"),
        (entry(b"Pabc\n"), "it holds an operation that checkpoints have no use for"),
        (entry(b"K\x01Q"), "it refers to data outside of it"),
        (b"\x80\x04}q\x00h\x00h\x00s.", "a tensor's name is not text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "is a web page; download the file itself"),
    ],
)  # fmt: skip
def test_streams_that_claim_more_than_they_hold(tmp_path: Path, data: bytes, line: str) -> None:
    for suffix in (".pkl", ".pth"):
        assert line in error_of(tmp_path / f"m{suffix}", data)


def test_one_array_many_times_is_one(tmp_path: Path) -> None:
    """Names cost no memory: the values are made once."""
    array = pickle.dumps(np.ones(1 << 20, np.uint8), 4)[2:-1]
    names = b"".join(b"U\x06" + f"{i:06}".encode() + b"h\x00" for i in range(2000))
    (tmp_path / "m.pkl").write_bytes(b"\x80\x04" + array + b"q\x000}(" + names + b"u.")
    loaded = load_weights(tmp_path / "m.pkl")
    assert len({value.data_ptr() for value in loaded.values()}) == 1


def test_operations_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "OPERATIONS", 1000)
    assert "it holds more than 1000 operations" in error_of(tmp_path / "m.pkl", b"N0" * 1000)


Make = Callable[[], Tensor]


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: torch.zeros(1).expand(10**12), "its tensors claim more values than the file hol"),
        (lambda: torch.empty(3, device="meta"), "a is a tensor without values (meta); store it d"),
        (lambda: torch.eye(3).to_sparse(), "a is a sparse tensor; store it dense, in float32"),
        (lambda: torch.tensor([1 + 1j]).conj(), "a is a conjugated or negated view; store it dens"),
        (lambda: torch.zeros(3).to(torch.float8_e4m3fn), "a is of float8_e4m3fn, which is no type"),
        (lambda: torch.full((2,), complex("nan")), "NaN or infinity in a (2 of 2 values)"),
        (lambda: torch.tensor([2, 1], dtype=torch.uint8).view(torch.bool), "a holds truth values"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_that_are_no_weights(tmp_path: Path, make: Make, line: str, zipped: bool) -> None:
    content = io.BytesIO()
    torch.save({"a": make()}, content, _use_new_zipfile_serialization=zipped)
    assert line in error_of(tmp_path / "m.pth", content.getvalue())


def test_small_expanded_tensors_and_views_load(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    whole = {"a": torch.ones(1, 3).expand(5, 3), "b": base.T, "c": base[1:, 2], "d": base[:0]}
    for zipped in (True, False):
        torch.save(whole, tmp_path / "m.pth", _use_new_zipfile_serialization=zipped)
        loaded = load_weights(tmp_path / "m.pth")
        assert {k: v.tolist() for k, v in loaded.items()} == {
            k: v.tolist() for k, v in whole.items()
        }


Edit = Callable[[str, bytes], bytes | None]


def rezipped(edit: Edit, method: int = zipfile.ZIP_STORED) -> bytes:
    """The archive of a tensor of 1000 numbers, each member changed or left out."""
    source, sink = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.zeros(1000)}, source)
    archive = zipfile.ZipFile(source)
    with zipfile.ZipFile(sink, "w", method) as changed:
        for member in archive.namelist():
            data = edit(member, archive.read(member))
            if data is not None:
                changed.writestr(member, data)
    return sink.getvalue()


def description(old: bytes, new: bytes) -> Edit:
    return lambda member, data: data.replace(old, new) if member.endswith(".pkl") else data


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (description(b"K\x00M\xe8\x03\x85", b"K\x00M\xe9\x03\x85"), "reaches beyond its storage"),
        (description(b"K\x00M\xe8\x03\x85", b"K\x01M\xe8\x03\x85"), "reaches beyond its storage"),
        (description(b"FloatStorage", b"DoubleStorage"), "reaches beyond its storage"),
        (lambda member, data: None if member.endswith("data/0") else data, "values are missing"),
        (lambda member, data: None if member.endswith(".pkl") else data, "without a checkpoint"),
        (lambda member, data: data[:99] if member.endswith("data/0") else data, "beyond its stor"),
    ],
)
def test_archives_that_contradict_themselves(tmp_path: Path, edit: Edit, line: str) -> None:
    assert line in error_of(tmp_path / "m.pth", rezipped(edit))


def test_archives_that_are_compressed_or_code(tmp_path: Path) -> None:
    bomb = rezipped(lambda member, data: bytes(1 << 24), zipfile.ZIP_DEFLATED)
    assert error_of(tmp_path / "m.pth", bomb) == "is a compressed archive; write it with torch.save"
    script = io.BytesIO()
    with zipfile.ZipFile(script, "w") as archive:  # as torch.jit.save lays it out
        for member in ("m/data.pkl", "m/code/__torch__.py", "m/constants.pkl"):
            archive.writestr(member, b"")
    assert error_of(tmp_path / "m.pt", script.getvalue()) == (
        "is a TorchScript model, which is code; save the model's state dict"
    )


def safetensors_file(header: Any, body: bytes = bytes(64), size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


def one(dtype: str, shape: list[int], end: int = 64) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (safetensors_file({}, size=2**63), "not a whole safetensors file; get an intact copy"),
        (safetensors_file(one("F32", [2**32, 2**32])), "not a whole safetensors file; get an int"),
        (safetensors_file(b'{"a":' + b"[" * 10**5), "not a whole safetensors file; get an intact"),
        (safetensors_file(one("F32", [0, 2**62, 2**62], 0), b""), "a has an impossible shape"),
        (safetensors_file(one("F8_E4M3", [64])), "a is of float8_e4m3fn, which is no type of wei"),
        (
            safetensors_file({"__metadata__": {"aliases": "[" * 10**5}, **one("F32", [16])}),
            'the metadata entry "aliases" does not fit the file; write it anew',
        ),
    ],
)
def test_headers_that_lie(tmp_path: Path, data: bytes, line: str) -> None:
    assert line in error_of(tmp_path / "m.safetensors", data)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    ones = np.ones(1)
    for content, line in (
        ({"\ud800": ones}, r"the name '\ud800' is no text; save the model's state dict"),
        ({1: ones, "1": ones}, "a tensor's name is not text; save the model's state dict"),
        ({"a\nb": 3}, r"'a\nb' is no tensor but int; save the model's state dict"),
        ({"a" * 999: 3}, "a" * 120 + "… is no tensor but int; save the model's state dict"),
    ):
        assert error_of(tmp_path / "m.pkl", pickle.dumps(content)) == line


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=r"m.pth: is no regular file; check the path$"):
        load_weights(tmp_path / "m.pth")


def test_mutated_checkpoints(tmp_path: Path) -> None:
    """The short form of `python -m tests.fuzz.checkpoints`."""
    found = run(COUNT, 0, tmp_path)
    assert {outcome for _, outcome in found} == {"loaded", "refused"}
    assert {form for form, outcome in found if outcome == "loaded"} == set(samples())
