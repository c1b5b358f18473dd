"""The trained digits model for any size: it equals the programs that are compiled for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.config import load_config
from lrpc.models.sources import build_model

CONFIG = Path(__file__).parents[2] / "examples" / "maskdino.yaml"
STARTS = {"pred_logits": [(0, 1)], "pred_masks": [(1, 2, 3)], "pred_boxes": [(2, 1)]}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build_model(load_config(CONFIG))[0].double()


@pytest.fixture(scope="module")
def program(model: nn.Module) -> Any:
    dynamic = {"images": {2: "H", 3: "W"}}
    return lrpc.compile(model, (images(160, 224),), composite="maskdino", dynamic=dynamic)


def images(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height + width)
    return torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64) * 255


@pytest.mark.slow
@pytest.mark.parametrize(
    "size", [(96, 160), (160, 96), (224, 288), (192, 192), (352, 192)], ids=str
)
def test_digits_of_any_size(model: nn.Module, program: Any, size: tuple[int, int]) -> None:
    x = images(*size)
    fixed = lrpc.compile(model, (x,), composite="maskdino", check=False)
    state, other = program.forward(x), fixed.forward(x)
    with torch.no_grad():
        wanted = model(x)
    for name, value in wanted.items():
        torch.testing.assert_close(state.outputs[name], value, rtol=1e-11, atol=1e-11)
    for target, at in STARTS.items():
        got = program.relevance(state, target, at=at, ledger=True)
        there = fixed.relevance(other, target, at=at).input
        assert float((got.input - there).abs().max() / there.abs().max()) < 1e-10
        assert float(got.ledger.closure.max()) < 1e-12
