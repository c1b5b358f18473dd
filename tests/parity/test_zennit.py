"""Single rules against zennit's, on one module each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.one_node import Case, flow
from tests.support.torchvision_shim import torchvision_models

torchvision_models()  # zennit imports torchvision
rules = pytest.importorskip("zennit.rules")

PARITY = (
    ("linear", "epsilon", "zennit", "test_rules"),
    ("linear", "gamma", "zennit", "test_rules"),
    ("linear", "alpha_beta", "zennit", "test_rules"),
    ("linear", "z_plus", "zennit", "test_rules"),
    ("linear", "z_box", "zennit", "test_rules"),
    ("linear", "w_square", "zennit", "test_rules"),
    ("linear", "flat", "zennit", "test_rules"),
    ("conv2d", "epsilon", "zennit", "test_rules"),
    ("conv2d", "gamma", "zennit", "test_rules"),
    ("conv2d", "alpha_beta", "zennit", "test_rules"),
    ("conv2d", "z_plus", "zennit", "test_rules"),
    ("conv2d", "z_box", "zennit", "test_rules"),
    ("conv2d", "w_square", "zennit", "test_rules"),
    ("conv2d", "flat", "zennit", "test_rules"),
    ("conv_transpose2d", "epsilon", "zennit", "test_rules"),
    ("conv_transpose2d", "gamma", "zennit", "test_rules"),
    ("conv_transpose2d", "alpha_beta", "zennit", "test_rules"),
    ("conv_transpose2d", "z_plus", "zennit", "test_rules"),
    ("conv_transpose2d", "z_box", "zennit", "test_rules"),
    ("conv_transpose2d", "w_square", "zennit", "test_rules"),
    ("conv_transpose2d", "flat", "zennit", "test_rules"),
    ("batch_norm", "epsilon", "zennit", "test_rules"),
    ("batch_norm", "gamma", "zennit", "test_rules"),
    ("batch_norm", "alpha_beta", "zennit", "test_rules"),
    ("batch_norm", "z_plus", "zennit", "test_rules"),
    ("batch_norm", "z_box", "zennit", "test_rules"),
    ("batch_norm", "w_square", "zennit", "test_rules"),
    ("batch_norm", "flat", "zennit", "test_rules"),
    ("avg_pool2d", "epsilon", "zennit", "test_rules_without_weights"),
    ("batch_norm", "pass", "zennit", "test_rules_without_weights"),
)
EPS = 1e-6
BOX = {"low": (-3.5, -4.0), "high": (3.0, 4.5)}


def zennit_box(values: tuple[float, ...], x: Tensor) -> Tensor:
    return torch.tensor(values).double().reshape(1, -1, *(1,) * (x.dim() - 2))


#: Our rule with its parameters → zennit's for an input.
PAIRS: dict[str, tuple[str, dict[str, Any], Callable[[Tensor], Any]]] = {
    "epsilon": ("epsilon", {"eps": 0.25}, lambda x: rules.Epsilon(0.25)),
    "epsilon, b excluded": (
        "epsilon", {"bias": "excluded"}, lambda x: rules.Epsilon(EPS, zero_params=["bias"]),
    ),
    "gamma": ("gamma", {"gamma": 0.25}, lambda x: rules.Gamma(0.25)),
    "gamma, b excluded": (
        "gamma", {"gamma": 2.0, "bias": "excluded"},
        lambda x: rules.Gamma(2.0, zero_params=["bias"]),
    ),
    "alpha_beta": (
        "alpha_beta", {"alpha": 2.0, "beta": 1.0}, lambda x: rules.AlphaBeta(2.0, 1.0),
    ),
    "alpha_beta, b excluded": (
        "alpha_beta", {"alpha": 1.5, "beta": 0.5, "bias": "excluded"},
        lambda x: rules.AlphaBeta(1.5, 0.5, zero_params=["bias"]),
    ),
    "z_plus": ("z_plus", {}, lambda x: rules.ZPlus()),
    "z_box": (
        "z_box", BOX,
        lambda x: rules.ZBox(zennit_box(BOX["low"], x), zennit_box(BOX["high"], x)),
    ),
    "w_square": ("w_square", {}, lambda x: rules.WSquare()),
    "w_square, b excluded": (
        "w_square", {"bias": "excluded"}, lambda x: rules.WSquare(zero_params=["bias"]),
    ),
    "flat": ("flat", {}, lambda x: rules.Flat()),
}  # fmt: skip


def modules() -> dict[str, tuple[nn.Module, str, dict[str, Any]]]:
    """A module of two input channels, our op, its attributes."""
    plain = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}
    return {
        "linear": (nn.Linear(2, 5), "linear", {}),
        "conv2d": (nn.Conv2d(2, 4, (3, 2), **plain), "conv2d", plain),
        "conv_transpose2d": (
            nn.ConvTranspose2d(2, 4, (3, 2), output_padding=(1, 0), **plain),
            "conv_transpose2d",
            {**plain, "output_padding": (1, 0)},
        ),
        "batch_norm": (nn.BatchNorm2d(2, eps=0.0), "batch_norm", {"eps": 0.0}),
    }


def perturbed(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter, dtype=torch.float64)
    return module.eval()


def theirs(hook: Any, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """What zennit's hook makes of relevance at the output of `module`."""
    handle = hook.register(module)
    leaf = x.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(module(leaf), leaf, relevance)
    handle.remove()
    return found


@pytest.mark.parametrize("pair", list(PAIRS))
@pytest.mark.parametrize("kind", list(modules()))
def test_rules(kind: str, pair: str) -> None:
    """Inputs of both signs, some exactly 0. zennit clamps a batch norm's γ and β alone: with mean 0
    and variance 1 they are its weight and its bias."""
    torch.manual_seed(3)
    module, op, attrs = modules()[kind]
    module = perturbed(module).double()
    x = torch.randn(3, 2, dtype=torch.float64)
    if kind != "linear":
        x = torch.randn(3, 2, 5, 6, dtype=torch.float64)
    x[torch.rand(x.shape) < 0.2] = 0.0
    weights = {k: v.detach() for k, v in module.named_parameters()}
    if kind == "batch_norm":
        weights |= {"mean": torch.zeros(2).double(), "var": torch.ones(2).double()}
    rule, params, hook = PAIRS[pair]
    z = module(x).detach()
    g = torch.randn(2, *z.shape, dtype=torch.float64)
    found = flow(Case(op, (x,), attrs, weights), rule, g, **params)
    for k in range(2):
        expected = theirs(hook(x), module, x, z * g[k])
        torch.testing.assert_close(found.inputs[0][k], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["avg_pool2d", "batch_norm"])
def test_rules_without_weights(kind: str) -> None:
    """Norm on average pooling is epsilon; Pass on batch norm, whatever its statistics, is pass."""
    torch.manual_seed(4)
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    if kind == "avg_pool2d":
        attrs = {"kernel": (3, 2), "stride": (2, 2), "padding": (1, 1)}
        module, case = nn.AvgPool2d((3, 2), 2, 1), Case(kind, (x,), attrs)
        rule, hook = "epsilon", rules.Norm()
    else:
        module = perturbed(nn.BatchNorm2d(2)).double()
        module.running_mean += torch.randn(2)
        module.running_var *= 3.0
        weights = {k: v.detach() for k, v in module.named_parameters()}
        weights |= {"mean": module.running_mean, "var": module.running_var}
        case, rule, hook = Case(kind, (x,), {"eps": 1e-5}, weights), "pass", rules.Pass()
    z = module(x).detach()
    g = torch.randn(2, *z.shape, dtype=torch.float64)
    found = flow(case, rule, g)
    for k in range(2):
        expected = theirs(hook, module, x, z * g[k])
        torch.testing.assert_close(found.inputs[0][k], expected, rtol=1e-9, atol=1e-12)


def test_gamma_drops_relevance_where_the_output_is_zero_as_zennit_does() -> None:
    linear = nn.Linear(3, 2).double()
    linear.bias.data[0] = 0.0
    x = torch.zeros(1, 3, dtype=torch.float64)
    relevance = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    assert not theirs(rules.Gamma(0.25), linear, x, relevance).any()
    weights = {k: v.detach() for k, v in linear.named_parameters()}
    straight = torch.eye(2, dtype=torch.float64)
    straight[0, 1] = 1.0
    case = Case("linear", (x,), {}, weights, behind=straight)  # R at an output that is 0
    found = flow(case, "gamma", torch.ones(1, 1, 2, dtype=torch.float64))
    assert not found.inputs[0].any()
    # Both hold b₁. The first output is 0 and loses it to ε's sink, the second to its bias.
    bias = linear.bias.detach()[1].item()
    assert found.sinks["epsilon"].item() == pytest.approx(bias, rel=1e-4)
    assert found.sinks["bias"].item() == pytest.approx(bias, rel=1e-4)
