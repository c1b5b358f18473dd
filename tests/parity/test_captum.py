"""captum's LRP on a small network, and where its rules are other rules than ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc

captum = pytest.importorskip("captum.attr")
peer = pytest.importorskip("captum.attr._utils.lrp_rules")

PARITY = (
    ("linear", "epsilon", "captum", "test_same_rules"),
    ("linear", "gamma_weight", "captum", "test_same_rules"),
    ("linear", "z_plus", "captum", "test_same_rules"),
    ("conv2d", "epsilon", "captum", "test_same_rules"),
    ("conv2d", "gamma_weight", "captum", "test_same_rules"),
    ("conv2d", "z_plus", "captum", "test_same_rules"),
    ("avg_pool2d", "epsilon", "captum", "test_same_rules"),
)
EPS = 1e-9  # captum's stabiliser, which only its epsilon rule lets one choose


class Small(nn.Module):
    """Convolutions, pooling and linear maps; captum knows no nn.Flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 5, 3, stride=2)
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.average, self.most = nn.AvgPool2d(2), nn.MaxPool2d(2)
        self.fc1, self.fc2 = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.most(self.relu1(self.conv1(x)))
        y = self.average(self.relu2(self.conv2(y)))
        return self.fc2(self.relu3(self.fc1(torch.flatten(y, 1))))


def small() -> tuple[Small, Tensor]:
    torch.manual_seed(1)
    model = Small().double().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model, torch.randn(3, 2, 10, 10).double()


def theirs(model: nn.Module, x: Tensor, rule: Callable[[], Any], target: int = 1) -> Tensor:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.rule = rule()
    leaf = x.clone().requires_grad_(True)
    return captum.LRP(model).attribute(leaf, target=target).detach()


def ours(model: nn.Module, x: Tensor, rule: str, target: int = 1, **params: Any) -> Tensor:
    entries = [{"op": "conv2d|linear", "rule": rule, **params}]
    program = lrpc.compile(model, (x,), composite="epsilon", epsilon=EPS, rules=entries)
    return program.relevance(program.forward(x), "output", at=[(target,)]).input[0]


@pytest.mark.parametrize(
    ("theirs_is", "rule", "params"),
    [
        (lambda: peer.EpsilonRule(0.25), "epsilon", {"eps": 0.25}),
        (lambda: peer.GammaRule(0.25), "gamma_weight", {"gamma": 0.25, "bias": "kept"}),
        (
            lambda: peer.GammaRule(0.25, set_bias_to_zero=True),
            *("gamma_weight", {"gamma": 0.25, "bias": "excluded"}),
        ),
        (
            lambda: peer.Alpha1_Beta0_Rule(set_bias_to_zero=True),
            *("z_plus", {"bias": "excluded"}),
        ),
    ],
    ids=["epsilon", "gamma", "gamma without bias", "alpha 1, beta 0 without bias"],
)
def test_same_rules(theirs_is: Callable[[], Any], rule: str, params: dict[str, Any]) -> None:
    """captum's γ leaves b alone. Its α1β0 clamps weights only: right where no input is negative.

    captum stabilises max pooling too, by 1e-9; ours does not.
    """
    model, x = small()
    x = x.abs()
    found = ours(model, x, rule, **{"eps": EPS} | params)
    expected = theirs(model, x, theirs_is)
    assert float((found - expected).norm() / expected.norm()) < 1e-7


# One linear map with one output: what the rules differ by is then a single factor.


def neuron(bias: float) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """Model, input, weight, output."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 1)).double()
    model[0].bias.data.fill_(bias)
    x = torch.rand(1, 4).double()
    return model, x, model[0].weight.detach()[0], model(x).detach()[0, 0]


@pytest.mark.parametrize("bias", [0.7, -0.7])
def test_gamma_of_captum_does_not_scale_the_bias(bias: float) -> None:
    model, x, w, _ = neuron(bias)
    gamma = 0.5
    scaled = ours(model, x, "gamma_weight", 0, gamma=gamma, eps=EPS)
    kept = theirs(model, x, lambda: peer.GammaRule(gamma), 0)
    d = float((x[0] * (w + gamma * w.clamp(min=0))).sum()) + bias
    torch.testing.assert_close(scaled * (d + gamma * max(bias, 0)) / d, kept)
    assert torch.allclose(scaled, kept) == (bias < 0)


@pytest.mark.parametrize("bias", [0.7, -0.7])
def test_alpha1_beta0_of_captum_keeps_negative_biases(bias: float) -> None:
    model, x, w, _ = neuron(bias)
    usual = ours(model, x, "z_plus", 0, eps=EPS)
    other = theirs(model, x, peer.Alpha1_Beta0_Rule, 0)
    d = float((x[0] * w.clamp(min=0)).sum())
    torch.testing.assert_close(usual * (d + max(bias, 0)) / (d + bias), other)
    assert torch.allclose(usual, other) == (bias > 0)


def test_rules_of_captum_do_not_part_inputs_by_sign() -> None:
    """A negative input times a negative weight is a positive contribution, which captum drops."""
    model, x, w, z = neuron(0.0)
    x = -x
    z = -z
    usual = ours(model, x, "z_plus", 0, eps=EPS)[0]
    towards = x[0] * w.clamp(max=0)
    torch.testing.assert_close(usual, towards * z / towards.sum())
    other = theirs(model, x, peer.Alpha1_Beta0_Rule, 0)[0]
    against = x[0] * w.clamp(min=0)
    torch.testing.assert_close(other, against * z / against.sum())


class Twice(nn.Module):
    """Applies one module two times."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.relu1, self.relu2 = nn.Linear(4, 4), nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu2(self.body(self.relu1(self.body(x))))


def test_captum_refuses_a_module_that_is_used_twice_and_lrpc_does_not() -> None:
    torch.manual_seed(3)
    model, x = Twice().double(), torch.randn(2, 4).double()
    copied = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU()).double()
    for place in (0, 2):
        copied[place].load_state_dict(model.body.state_dict())
    with pytest.raises(RuntimeError, match="used more than once"):
        theirs(model, x, peer.EpsilonRule)
    expected = theirs(copied, x, lambda: peer.EpsilonRule(0.1))
    torch.testing.assert_close(ours(model, x, "epsilon", eps=0.1), expected)
