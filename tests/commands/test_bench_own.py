"""`lrpc bench`: a program beside its model, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lrpc
from lrpc.cli import main
from lrpc.commands.bench import command as own
from lrpc.commands.bench import loadings, rebuilt
from lrpc.compiler import compile_config
from lrpc.config import load_config
from tests.support.deep import deep

Captured = pytest.CaptureFixture[str]
SMALL = """
LRPC:
  SOURCE: tests.support.small:network
  COMPOSITE: attnlrp
  SHAPES: [[32, 32]]
"""
ALLOWED = ("--source", "tests.support.small:network")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, x = deep()  # no convolution: oneDNN's own memory is not in what is predicted
    path: Path = tmp_path_factory.mktemp("bench") / "deep"
    lrpc.compile(model, (x,), composite=["attnlrp", "gamma"]).save(path)
    return path


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("bench")
    (folder / "small.yaml").write_text(SMALL)
    compile_config(load_config(folder / "small.yaml"), folder / "small")
    return folder / "small"


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def printed(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["bench", *map(str, words)]) == code
    said = capsys.readouterr()
    return said.err if code else said.out


def test_a_program_alone(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "own.json"
    words = ("--batch", 3, "--seeds", 5, "--repeats", 2, "--json", out)
    text = printed(capsys, program, *words)
    assert "3 image(s)" in text
    assert "no model beside it: compiled from Python" in text
    case = json.loads(out.read_text())["cases"]["program"]
    assert [(row["target"], row["what"]) for row in case["rows"]] == [
        ("", "the program: forward"),
        ("output", "forward and relevance"),
        ("output", "relevance"),
        ("output", "relevance of 5 seeds"),
        ("output", "relevance and ledger"),
    ]
    assert all(label in text for row in case["rows"] for label in (row["what"], row["target"]))
    forward, both, one, *_ = case["rows"]
    assert forward["predicted"] == pytest.approx(forward["peak"], rel=0.05)
    assert both["predicted"] == pytest.approx(both["peak"], rel=0.05)
    assert one["predicted"] is None
    assert case["checked"]["closures"]["output"] < 1e-12  # double precision
    assert case["settings"] == {"batch": 3, "seeds": 5, "repeats": 2}
    assert "deep, gamma:" in printed(capsys, program, "--composite", "gamma", "--repeats", 1)


def test_beside_its_model(configured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, configured, *ALLOWED, "--repeats", 1)
    assert "the model: forward and input gradient" in text
    assert "outputs differ from the model's by" in text


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own making
def test_other_ways_to_load(tmp_path: Path, capsys: Captured) -> None:
    model, out = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval(), tmp_path / "own.json"
    program = lrpc.compile(model, (torch.ones(1, 4),)).save(tmp_path / "small")
    text = printed(capsys, program, "--repeats", 1, "--ways", "compile", "--json", out)
    assert re.search(
        r"compile: first calls took \S+ s, relevance of output differs by \de[-+]\d\d", text
    )
    rows = json.loads(out.read_text())["cases"]["program"]["rows"]
    assert [(row["target"], row["what"]) for row in rows if "compile" in row["what"]] == [
        ("", "compile: forward"),
        ("output", "compile: forward and relevance"),
    ]
    assert [row["target"] for row in rows] == sorted(row["target"] for row in rows)


def test_a_way_that_gives_something_else_is_not_timed(
    program: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = loadings.load_program

    def wrong(directory: Path, device: str, **options: bool) -> Any:
        found: Any = right(directory, device, **{**options, "compile": False})
        weights = {k: v * 1.1 if v.is_floating_point() else v for k, v in found.weights.items()}
        found.weights = weights
        return found

    monkeypatch.setattr(loadings, "load_program", wrong)
    error = printed(capsys, program, "--ways", "compile", code=2)
    assert "output: relevance of the program loaded with compile differs by" in error
    assert "not timed" in error


def test_another_model_is_not_timed(
    configured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build = rebuilt.build_model

    def other(config: Any) -> Any:
        model, info = build(config)
        model.head.weight.data *= 1.1
        return model, info

    monkeypatch.setattr(rebuilt, "build_model", other)
    error = printed(capsys, configured, *ALLOWED, "--repeats", 1, code=2)
    assert "the program's outputs differ from its model's by" in error
    assert "not timed" in error


def test_a_ledger_that_does_not_close_is_not_timed(
    program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(own, "CLOSURE", {"as the model": -1.0})
    error = printed(capsys, program, code=2)
    assert error.startswith("error: output: the ledger closes to ")
    assert "lrpc verify" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "outptu"], "--target outptu (perhaps output): the program has output"),
        (["--composite", "epsilon"], "--composite epsilon: the program has attnlrp, gamma"),
        (["--ways", "compile,fast"], "--ways fast: expected compile, capture or compile+capture"),
        (["--ways", "capture"], "capture=True records CUDA graphs, and this program is on cpu"),
        (["--device", "cuda"], "--device cuda: torch sees no CUDA device here"),
        (["--json", "/nowhere/f.json"], "/nowhere/f.json: cannot be written"),
    ],
)
def test_refusals(
    program: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    error = printed(capsys, program, "--repeats", 1, *words, code=2)
    assert said in error
    assert error.count("\n") == 1


def test_no_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not a program directory" in printed(capsys, tmp_path, code=2)
    with pytest.raises(SystemExit):
        main(["bench", str(tmp_path), "--repeats", "0"])
    assert "'0' is not a whole number from 1" in capsys.readouterr().err


def test_weights_must_be_those_of_the_program(
    configured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(configured, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["config"]["MODEL"]["WEIGHTS"] = "model.pth"
    manifest["weights"]["random"] = False
    manifest["weights"]["sha256"] = "0" * 64
    (copy / "manifest.json").write_text(json.dumps(manifest))
    text = printed(capsys, copy, "--repeats", 1)
    assert "no model beside it: give --weights FILE, the checkpoint model.pth" in text
    (tmp_path / "model.pth").write_bytes(b"other")
    error = printed(capsys, copy, "--weights", tmp_path / "model.pth", code=2)
    assert "not the file that the program was compiled from" in error
    assert "No such file" in printed(capsys, copy, "--weights", tmp_path / "none.pth", code=2)


def test_example_inputs() -> None:
    inputs = {"images": "f32[B,3,4,4]", "ids": "i64[B,5]", "mask": "bool[B,2]", "table": "f64[7]"}
    found = own.example({"inputs": inputs, "config": {}}, 3)
    assert {k: (tuple(v.shape), v.dtype) for k, v in found.items()} == {
        "images": ((3, 3, 4, 4), torch.float32), "ids": ((3, 5), torch.int64),
        "mask": ((3, 2), torch.bool), "table": ((7,), torch.float64),
    }  # fmt: skip
    assert found["images"].min() >= 0
    assert found["images"].max() > 200
    assert own.example({"inputs": inputs}, 1)["images"].min() < 0
    sizes = {"H": {"step": 32, "example": 64}, "W": {"step": 32, "example": 96}}
    varying = {"inputs": {"images": "f32[B,3,H,W]"}, "sizes": sizes}
    assert own.example(varying, 2)["images"].shape == (2, 3, 64, 96)
