"""Models at the edge of what programs can hold: merged batches, doubled marks, derived weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.errors import WeightsError
from lrpc.program.verify import checks


class Rows(nn.Module):
    """Tokens of all images in one axis, as the output has them."""

    def __init__(self) -> None:
        super().__init__()
        self.same, self.head = nn.Identity(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        rows: Tensor = self.head(self.same(x)).relu().reshape(-1, 3)
        return rows


def inference(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model.double().eval().requires_grad_(False)


def test_an_output_may_hold_several_rows_of_each_image() -> None:
    model, x = inference(Rows()), torch.randn(2, 5, 4, dtype=torch.float64)
    program: Any = lrpc.compile(model, (x,), composite="gradient_input")
    state = program.forward(x)
    torch.testing.assert_close(state.outputs, model(x))
    found = program.relevance(state, "output", seeds=state.outputs[None], ledger=True)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf).sum(), leaf)
    torch.testing.assert_close(found.input[0], x * gradient)
    assert found.ledger.start.shape == (1, 2)
    assert float(found.ledger.closure.max()) < 1e-10


def test_two_names_for_one_value_can_both_be_read() -> None:
    model, x = inference(Rows()), torch.randn(2, 5, 4, dtype=torch.float64)
    program: Any = lrpc.compile(model, (x,), read={"before": "same:in0", "after": "same"})
    state = program.forward(x)
    found = program.relevance(state, "output", seeds=state.outputs[None])
    assert found.layers.keys() == {"before", "after"}
    for relevance in found.layers.values():
        torch.testing.assert_close(relevance, found.input)


@pytest.mark.parametrize("rules", ["gamma", "epsilon_alpha2_beta1", "thesis"])
def test_programs_with_weights_that_rules_derive_are_verified(rules: str) -> None:
    layers = (nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    program: Any = lrpc.compile(inference(nn.Sequential(*layers)), (x,), composite=rules)
    found = list(checks(program.directory))
    assert len(found) > 4
    assert [check.what for check in found if not check.passed] == []


def test_a_masked_score_that_is_shifted_stays_out_of_the_ledger() -> None:
    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.bias = nn.Linear(4, 4), nn.Parameter(torch.zeros(5, 5))

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
            scores = self.query(x) @ x.mT
            mixed: Tensor = (scores.masked_fill(hidden, -torch.inf) + self.bias).softmax(-1) @ x
            return mixed

    x = torch.randn(2, 5, 4, dtype=torch.float64)
    program: Any = lrpc.compile(inference(Scores()), (x,))
    ledger = program.relevance(program.forward(x), "output", at=[(3, 1)], ledger=True).ledger
    rest = {node: float(r.max()) for node, r in ledger.node_closure().items()}
    assert float(ledger.closure.max()) < 1e-10
    assert all(r < 1e-10 for r in rest.values()), rest  # NaN is not below


SEEN = torch.arange(5) < 3


class Masked(nn.Module):
    """Scores with minus infinity in the place of some, in several spellings."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.scores, self.values = way, nn.Linear(4, 5), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.scores(x)
        infinite = torch.full((5,), float("-inf"), dtype=x.dtype)
        match self.way:
            case "number":
                scores = torch.where(SEEN, scores, float("-inf"))
            case "tensor":
                scores = torch.where(~SEEN, infinite, scores)
            case "full_like":
                scores = torch.where(SEEN, scores, torch.full_like(scores, float("-inf")))
            case "added":
                scores = scores + torch.where(SEEN, 0.0, float("-inf")).to(x.dtype)
            case "largest":
                return torch.where(SEEN, scores, float("-inf")).amax(-1, keepdim=True)
            case _:
                scores = torch.maximum(scores, infinite)
        return scores.softmax(-1) * self.values(x)


@pytest.mark.parametrize("way", ["number", "tensor", "full_like", "added", "largest"])
def test_minus_infinity_is_a_mask(way: str) -> None:
    model, x = inference(Masked(way)), torch.randn(3, 4, dtype=torch.float64)
    program: Any = lrpc.compile(model, (x,), composite=["gradient_input", "attnlrp"])
    state = program.forward(x)
    torch.testing.assert_close(state.outputs, model(x))
    for composite in ("gradient_input", "attnlrp"):
        found = program.relevance(
            state, "output", seeds=state.outputs[None], ledger=True, composite=composite
        )
        assert float(found.ledger.closure.max()) < 1e-10
        if composite == "gradient_input":
            leaf = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(model(leaf).sum(), leaf)
            torch.testing.assert_close(found.input[0], x * gradient)


def test_infinity_that_is_no_mask_is_refused_with_its_place() -> None:
    model, x = inference(Masked("compared")), torch.randn(3, 4, dtype=torch.float64)
    with pytest.raises(WeightsError) as caught:
        lrpc.compile(model, (x,))
    said = str(caught.value)
    assert said.startswith("NaN or infinity in constant.")
    assert "(5 of 5 values) of Masked, used at tests/program/test_compile_corners.py:" in said
    assert said.endswith(
        "; a mask of minus infinity works as scores.masked_fill(mask, -inf) or scores + mask,"
        " other numbers must be finite"
    )


class RootMeanSquare(nn.Module):
    """A norm over another axis than the last, spelled out; no pass finds it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x * x).mean(1, keepdim=True).add(0.1).rsqrt()


@pytest.mark.parametrize("composite", ["attnlrp", "epsilon", "thesis", "epsilon_plus"])
def test_what_normalises_takes_no_relevance(composite: str) -> None:
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    program: Any = lrpc.compile(RootMeanSquare().eval(), (x,), composite=composite, epsilon=0.0)
    state = program.forward(x)
    found = program.relevance(state, "output", seeds=state.outputs[None], ledger=True)
    torch.testing.assert_close(found.input[0], state.outputs)
    assert all(float(sink.abs().max()) < 1e-12 for sink in found.ledger.sinks.values())
