"""`lrpc export`: what it prints, and what it refuses in one line, leaving no file behind."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import lrpc
from lrpc.cli import main
from lrpc.commands import export as command
from lrpc.export import portable, pt2
from tests.support.networks import small


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, x = small("three blocks")
    path: Path = tmp_path_factory.mktemp("export") / "blocks"
    lrpc.compile(model, (x,), composite=["attnlrp", "gamma"], check=False).save(path)
    return path


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, x = small("tiny transformer")
    path: Path = tmp_path_factory.mktemp("export") / "double"
    lrpc.compile(model, (x,), check=False).save(path)
    return path


def printed(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["export", *map(str, words)]) == code
    said = capsys.readouterr()
    return said.err if code else said.out


def test_what_it_prints(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "blocks.onnx"
    text = printed(capsys, directory, "--to", "onnx", "-o", path, "--composite", "gamma")
    first, *rest, checked = text.splitlines()
    assert first.startswith(f"{path}: ")
    assert rest == [
        "  input    input: f32[B,17,12]",
        "  input    at: i64[K,B,2], indices (index0, index1)",
        "  output   output: f32[B,17,12]",
        "  output   relevance.input: f32[K,B,17,12]",
    ]
    assert checked.startswith("  checked  outputs differ from the program's by ")
    assert checked.endswith("(B = 2, K = 2)")
    assert list(tmp_path.iterdir()) == [path]
    text = printed(capsys, directory, "--to", "onnx", "-o", path, "--ledger")
    *_, output, checked = text.splitlines()
    assert re.fullmatch(r"  output   ledger: f64\[\d+,K,B\]", output)
    assert re.search(r", the ledger by \d\.\de-\d\d", checked)


REFUSED = {
    "a name": (["--to", "onnx", "-o", "{out}.bin"], "name a file that ends in .onnx"),
    "a target": (
        ["--to", "onnx", "-o", "{out}.onnx", "--target", "box"],
        "--target box: the program starts from output",
    ),
    "a place": (
        ["--to", "onnx", "-o", "{out}.onnx", "--read", "encoder"],
        "--read: no place matches 'encoder'; places: input.input",
    ),
    "a composite": (
        ["--to", "onnx", "-o", "{out}.onnx", "--composite", "thesis"],
        "this program has no composite 'thesis'; it has: attnlrp, gamma",
    ),
    "a folder": (["--to", "onnx", "-o", "{out}/none/x.onnx"], "cannot be written (no such file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(
    case: str, directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, wanted = REFUSED[case]
    given = [word.format(out=tmp_path / "x") for word in words]
    text = printed(capsys, directory, *given, code=2)
    assert wanted in text
    assert len(text.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["none/x.onnx", "file/x.onnx", "folder.onnx"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    name: str,
    directory: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.onnx").mkdir()
    monkeypatch.setattr(command, "Export", None)
    text = printed(capsys, directory, "--to", "onnx", "-o", tmp_path / name, code=2)
    assert f"{name}: cannot be written (" in text
    assert len(text.splitlines()) == 1


def test_what_onnxruntime_lacks(
    double: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that was there stays as it was."""
    path = tmp_path / "x.onnx"
    path.write_text("before")
    text = printed(capsys, double, "--to", "onnx", "-o", path, code=2)
    assert "it has no Conv in float64; compile the model in float32 and export that" in text
    assert len(text.splitlines()) == 1
    assert [p.read_text() for p in tmp_path.iterdir()] == ["before"]


def test_what_is_not_installed(
    directory: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(portable, "find_spec", lambda name: None)
    text = printed(capsys, directory, "--to", "onnx", "-o", tmp_path / "x.onnx", code=2)
    assert "--to onnx needs onnx and onnxruntime; install with: pip install 'lrpc[onnx]'" in text
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    text = printed(capsys, directory, "--to", "pt2", "-o", tmp_path / "x.pt2", code=2)
    assert "needs a C++ compiler and finds none; install g++, or name one in CXX" in text
    assert not list(tmp_path.iterdir())


def test_what_torch_refuses(
    directory: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such operator\nand many lines")

    monkeypatch.setattr(torch.export, "export", refuse)
    monkeypatch.setattr(pt2, "check_compiler", lambda: None)
    text = printed(capsys, directory, "--to", "pt2", "-o", tmp_path / "x.pt2", code=2)
    assert "torch.export refuses this program: no such operator" in text
    assert [line.partition(":")[0] for line in text.splitlines()] == [
        "AOTInductor compiles it, which may take minutes",
        "error",
    ]
    assert not list(tmp_path.iterdir())
