"""Deformable detectors of transformers: their sampling is one operation, with MaskDINO's rules."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.ir.parser import parse_graph
from tests.oracle.patched import relevance
from tests.support.detectors import DETECTORS

#: One of each way of writing it; the others are slow.
FAST = ("Deformable DETR", "RT-DETRv2", "D-FINE, points by level", "LW-DETR", "Mask2Former")


def images(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 64, 64, generator=generator, dtype=torch.float64)


def gradient_input(model: nn.Module, x: Tensor, query: int, label: int) -> Tensor:
    leaf = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(leaf)[:, query, label].sum(), leaf)
    return x * gradient


@pytest.mark.parametrize(
    "name",
    [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in DETECTORS],
)
def test_detector(name: str) -> None:
    detector = DETECTORS[name]
    model, x = detector.build(), images(2, 0)
    rules = {"attnlrp": {"composite": "attnlrp", "epsilon": 0.0}, "gradient": "gradient_input"}
    program = lrpc.compile(model, (x,), composite=rules, check=False)
    graph = parse_graph((program.directory / "graph.lrp").read_text())
    roles, ops = (Counter(getattr(n, key) for n in graph.nodes) for key in ("role", "op"))
    assert roles["deformable_sampling"] == ops["deform_sample"] == detector.samplings
    assert roles["deformable_probabilities"] == detector.weighed
    assert not ops["grid_sample"]
    for given in (x, images(2, 1), images(1, 2), images(3, 3)):
        with torch.no_grad():
            torch.testing.assert_close(
                program.forward(given).outputs, model(given), rtol=1e-10, atol=1e-10
            )
    other = images(2, 1)
    state = program.forward(other)
    found = program.relevance(state, "output", at=[(1, 2)], ledger=True, composite="attnlrp")
    assert found.input.abs().amax() > 1e-4
    assert float(found.ledger.closure.max()) < detector.exact / 100
    r = program.relevance(state, "output", at=[(1, 2)], composite="gradient").input[0]
    expected = gradient_input(model, other, 1, 2)
    assert float((r - expected).abs().max() / expected.abs().max()) < detector.exact


HELD = ("Deformable DETR", "RT-DETR", "LW-DETR", "LW-DETR, two levels", "Mask2Former")


@pytest.mark.parametrize("rules", ["cp_lrp", "attnlrp"])
@pytest.mark.parametrize(
    "name", [n if n == HELD[0] else pytest.param(n, marks=pytest.mark.slow) for n in HELD]
)
def test_relevance_is_the_gradient_of_the_patched_model(name: str, rules: str) -> None:
    """Autograd on the model with detached places, σ and weights: it knows nothing of lrpc."""
    model, x = DETECTORS[name].build(), images(2, 4)
    composite = lrpc.composite(rules, epsilon=0.0, stop_at_detach=True)  # as autograd does
    program = lrpc.compile(model, (x,), composite=composite, check=False)
    found = program.relevance(program.forward(x), "output", at=[(3, 1)]).input[0]
    expected = relevance(model, x, (3, 1), rules)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-8
