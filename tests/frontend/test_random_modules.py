"""Random models through the frontend: same outputs, closed ledgers, autograd's gradients."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.rules.composite import COMPOSITES
from tests.support import random_modules
from tests.support.random_checks import MORE
from tests.support.random_modules import drawn

SEEDS = range(40 * MORE)
OTHERS = sorted(set(COMPOSITES) - {"gradient_input", "epsilon_gamma_box"})  # needs bounds


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_model(seed: int) -> None:
    model, x = drawn(seed)
    other = random.Random(seed).choice(OTHERS)
    program: Any = lrpc.compile(model, (x[:2],), composite=["gradient_input", other])
    state = program.forward(x)  # a batch of another size
    expected, gradient, seeds = differentiated(model, x)
    near(state.outputs, expected, 1e-11)
    start = seeds * expected
    for composite in ("gradient_input", other):
        found = program.relevance(state, "output", seeds=start, ledger=True, composite=composite)
        assert torch.isfinite(found.input).all()
        assert float(found.ledger.closure.max()) < 1e-10, composite
        if composite == "gradient_input":
            near(found.input, gradient * x, 1e-9)


def test_the_models_hold_every_step() -> None:
    written = set(re.findall(r'Step\("([^"]+)"', Path(random_modules.__file__).read_text()))
    found = {step.says for seed in SEEDS for step in drawn(seed)[0].steps}  # type: ignore[union-attr]
    assert found == written


def differentiated(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The output [B, C], the gradient [K, *x] of two weighings of it, and these [K, B, C]."""
    leaf = x.clone().requires_grad_()
    out: Tensor = model(leaf.clone())
    seeds = torch.randn(2, *out.shape, dtype=out.dtype)
    gradients = [torch.autograd.grad(out, leaf, s, retain_graph=True)[0] for s in seeds]
    return out.detach(), torch.stack(gradients), seeds


def near(found: Tensor, expected: Tensor, limit: float) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= limit * max(1.0, float(expected.abs().max()))
