"""What compiling and running a model costs: the limits that the project promises for the released
size, and, in every run, the cost of an explanation of the digits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lrpc.cli import main
from tests.support.programs import ANY_SIZE, DIGITS, Programs
from tools.bench.case_compile import FULL, command_of, run_alone

ROOT = Path(__file__).parents[2]


def test_the_digits_program_costs_what_a_gradient_does(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    program = programs.directory(DIGITS, COMPOSITE="attnlrp", **ANY_SIZE)
    weights = str(DIGITS.parent / "digits" / "maskdino_digits.safetensors")
    assert cost(program, tmp_path, "--weights", weights) <= 1.2


@pytest.mark.slow
def test_full_model_at_480_by_640(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = ["LRPC.COMPOSITE", "attnlrp"]  # one map back for each map of the model
    seconds, peak = run_alone(command_of(ROOT / FULL, tmp_path / "program", words))
    assert seconds <= 60
    assert peak <= 8e9
    assert cost(tmp_path / "program", tmp_path) <= 1.2


def cost(program: Path, folder: Path, *words: str) -> float:
    """Of an explanation of a class logit, in input gradients of the model."""
    out = folder / "figures.json"
    bench = ["bench", str(program), "--target", "class_logit", "--repeats", "3", *words]
    assert main([*bench, "--json", str(out)]) == 0
    case = json.loads(out.read_text())["cases"]["program"]
    assert case["checked"]["outputs_differ_by"] < 1e-5
    times = {(row["target"], row["what"]): row["time"]["median"] for row in case["rows"]}
    # Both sides are of the same rounds.
    gradient = times["", "the model: forward and input gradient"]
    return float(times["class_logit", "forward and relevance"] / gradient)
