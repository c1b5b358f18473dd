"""A budget of a program for many sizes is kept at each, up to the largest planned one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import lrpc
from lrpc.cli import main
from lrpc.compiler import compile_config
from lrpc.config import load_config
from lrpc.errors import ConfigError, LrpcError
from tests.support import sized_models as models
from tests.support.configs import write
from tests.support.storage import Tracker

SIZES = [(32, 32), (64, 32), (32, 96), (64, 96)]
CALLS = [(1, 4, False), (1, 2, True), (3, 5, False)]


def image(height: int, width: int, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.randn(count, 3, height, width, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module", params=["ConvNeXt", "SegFormer"])
def programs(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A program that recomputes under a budget, and one without."""
    torch.manual_seed(0)
    model = getattr(models, request.param)().double().eval()
    how: dict[str, Any] = {"dynamic": {"x": {2: "H", 3: "W"}}, "composite": "epsilon_plus"}
    usual = lrpc.compile(model, (image(64, 96),), seeds=4, check=False, **how)
    budget = {"budget": "75%", "checkpoint": "auto"}
    return lrpc.compile(model, (image(64, 96),), seeds=4, **how, **budget), usual


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_no_call_holds_more_than_the_budget(programs: tuple[Any, Any], size: Any) -> None:
    program, usual = programs
    budget, kept = program.manifest["memory"]["budget"], 0
    for batch, seeds, ledger in CALLS:
        x = image(*size, count=batch)
        name, value = next(iter(usual.forward(x).outputs.items()))
        at = [tuple(k % n for n in value.shape[1:]) for k in range(seeds)]
        with Tracker() as tracker:
            state = program.forward(x)
            fits = program.at_once(name, seeds, batch, state=state, ledger=ledger)
            found = [
                program.relevance(state, name, at=at[first : first + fits], ledger=ledger).input
                for first in range(0, seeds, fits)
            ]
            assert tracker.peak <= budget + sum(f.nbytes for f in found[:-1])
        wanted = usual.relevance(usual.forward(x), name, at=at).input
        torch.testing.assert_close(torch.cat(found), wanted, rtol=1e-9, atol=1e-12)
        kept += 1
    assert kept == len(CALLS)


def test_verify_and_export_stay_within_the_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And `lrpc plan` says where the budget is not kept."""
    torch.manual_seed(0)
    how: dict[str, Any] = {"dynamic": {"x": {2: "H", 3: "W"}}, "composite": "epsilon_plus"}
    program: Any = lrpc.compile(
        models.ConvNeXt().eval(), (image(64, 96).float(),), budget="75%", checkpoint="auto", **how
    )
    folder = str(program.save(tmp_path / "program"))
    assert main(["verify", folder]) == 0
    assert main(["export", folder, "--to", "onnx", "-o", str(tmp_path / "made.onnx")]) == 0
    capsys.readouterr()
    assert main(["plan", folder, "--size", "H=96", "W=96"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "kept for sizes up to 64×96: calls of this are refused" in said


def test_a_larger_size_is_refused_in_one_line(programs: tuple[Any, Any]) -> None:
    with pytest.raises(LrpcError) as caught:
        programs[0].forward(image(96, 64))
    assert str(caught.value).endswith(
        "H = 96, W = 64: LRPC.MEMORY.BUDGET is kept for sizes up to 64×96; resize the images, or "
        "compile with this size among LRPC.SHAPES"
    )


CONFIG = """LRPC:
  SOURCE: tests.support.small:network
  SHAPES: [[32, 64], [64, 32]]
  DYNAMIC: true
  MEMORY: {BUDGET: 90%, CHECKPOINT: auto}
"""


def test_sizes_of_a_config_are_those_that_its_budget_is_kept_for(tmp_path: Path) -> None:
    config = load_config(write(str(tmp_path / "c.yaml"), CONFIG))
    compile_config(config, tmp_path / "p")
    program = lrpc.load(tmp_path / "p")
    budget, sizes = program.manifest["memory"]["budget"], program.manifest["memory"]["held"]
    assert [x["sizes"] for x in sizes] == [{"H": 32, "W": 64}, {"H": 64, "W": 32}]
    for size in ((32, 64), (64, 32), (32, 32)):
        with Tracker() as tracker:
            state = program.forward(image(*size).float())
            program.relevance(state, "output", at=[(0,)])
        assert 0 < tracker.peak <= budget
    with pytest.raises(LrpcError, match=r"kept for sizes up to 32×64, 64×32"):
        program.forward(image(64, 64).float())


def test_several_sizes_need_a_program_of_any(tmp_path: Path) -> None:
    text = CONFIG.replace("DYNAMIC: true", "DYNAMIC: false")
    with pytest.raises(ConfigError, match=r"holds 2 sizes; .* set LRPC.DYNAMIC true, or compile"):
        compile_config(load_config(write(str(tmp_path / "c.yaml"), text)), tmp_path / "p")
    text = CONFIG.replace("DYNAMIC: true", "DYNAMIC: 64")
    with pytest.raises(ConfigError, match=r"LRPC.SHAPES: \[32, 64\] is in no steps of 64"):
        compile_config(load_config(write(str(tmp_path / "c.yaml"), text)), tmp_path / "p")
