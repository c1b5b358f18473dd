"""What compiling and running the full model costs: the limits that the project promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lrpc.cli import main
from tools.bench.case_compile import FULL, command_of, run_alone

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_full_model_at_480_by_640(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = ["LRPC.COMPOSITE", "attnlrp"]  # one map back for each map of the model
    seconds, peak = run_alone(command_of(ROOT / FULL, tmp_path / "program", words))
    assert seconds <= 60
    assert peak <= 8e9
    out = tmp_path / "figures.json"
    bench = ["bench", str(tmp_path / "program"), "--target", "class_logit", "--repeats", "3"]
    assert main([*bench, "--json", str(out)]) == 0
    case = json.loads(out.read_text())["cases"]["program"]
    assert case["checked"]["outputs_differ_by"] < 1e-5
    times = {(row["target"], row["what"]): row["time"]["median"] for row in case["rows"]}
    # Both sides are of the same rounds: an explanation costs no more than an input gradient.
    gradient = times["", "the model: forward and input gradient"]
    assert times["class_logit", "forward and relevance"] <= 1.2 * gradient
