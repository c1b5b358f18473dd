"""What compiling and running the full model costs: the limits that the project promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_full_model_at_480_by_640(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    config = ROOT / "examples" / "maskdino_r50_coco.yaml"
    command = [sys.executable, ROOT / "tools" / "measure.py", config, "--repeats", "3"]
    composite = ["LRPC.COMPOSITE", "attnlrp"]  # one map back for each map of the model
    subprocess.run([*command, "--json", out, *composite], check=True, cwd=ROOT)
    figures = json.loads(out.read_text())
    assert figures["compile_s"] <= 60
    assert figures["compile_peak_gb"] <= 8
    assert figures["outputs_differ_by"] < 1e-5
    assert figures["queries_that_flipped"] <= 6  # of 300, all weights random
    # Both sides are of the same rounds: an explanation costs no more than an input gradient.
    ours = figures["program_forward_s"] + figures["relevance_s"]
    assert ours <= 1.2 * figures["model_forward_and_gradient_s"]
