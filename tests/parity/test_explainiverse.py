"""explainiverse's LRP on small networks, and where its rules are other rules than ours."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from tests.support.explainiverse_lrp import explainiverse_lrp

LRPExplainer, PyTorchAdapter = explainiverse_lrp()
PARITY = (
    ("linear", "epsilon", "explainiverse", "test_same_rules"),
    ("linear", "gamma_weight", "explainiverse", "test_same_rules"),
    ("linear", "z_plus", "explainiverse", "test_same_rules"),
    ("conv2d", "epsilon", "explainiverse", "test_same_rules"),
    ("conv2d", "gamma_weight", "explainiverse", "test_same_rules"),
    ("conv2d", "z_plus", "explainiverse", "test_same_rules"),
    ("avg_pool2d", "epsilon", "explainiverse", "test_same_rules"),
    ("linear", "alpha_beta", "explainiverse", "test_alpha_beta_of_explainiverse_drops_the_bias"),
)
EPS = 1e-9  # of all its rules but epsilon and alpha_beta


def network(convolutional: bool = False) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(5)
    if convolutional:
        model = nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)
        )
        x = torch.rand(1, 2, 6, 6).double()
    else:
        model = nn.Sequential(
            nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 3)
        )
        x = torch.randn(1, 6).double()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.double().eval(), x


def theirs(model: nn.Module, x: Tensor, rule: str, **params: float) -> Tensor:
    adapter = PyTorchAdapter(model, task="regression")
    names = [f"x{i}" for i in range(x.numel())]
    explainer = LRPExplainer(adapter, feature_names=names, rule=rule, **params)
    explanation = explainer.explain(x[0].numpy(), target_class=1)
    raw = explanation.explanation_data["attributions_raw"]
    return torch.tensor(raw, dtype=torch.float64).reshape(x.shape)


def ours(model: nn.Module, x: Tensor, rule: str, pooling: float, **params: Any) -> Tensor:
    entries = [{"op": "conv2d|linear", "rule": rule, **params}]
    program = lrpc.compile(model, (x,), composite="epsilon", epsilon=pooling, rules=entries)
    return program.relevance(program.forward(x), "output", at=[(1,)]).input[0]


@pytest.mark.parametrize("convolutional", [False, True])
@pytest.mark.parametrize(
    ("rule", "given", "mine", "params"),
    [
        ("epsilon", {"epsilon": 0.1}, "epsilon", {"eps": 0.1}),
        ("gamma", {"gamma": 0.25, "epsilon": EPS}, "gamma_weight", {"gamma": 0.25, "bias": "kept"}),
        ("z_plus", {"epsilon": EPS}, "z_plus", {"bias": "excluded"}),
    ],
)
def test_same_rules(
    convolutional: bool, rule: str, given: dict[str, float], mine: str, params: dict[str, Any]
) -> None:
    """By captum: its γ does not scale b, and its z⁺ leaves b out and refuses negative inputs."""
    model, x = network(convolutional)
    x = x.abs()
    found = ours(model, x, mine, given["epsilon"], **{"eps": EPS} | params)
    torch.testing.assert_close(found, theirs(model, x, rule, **given), rtol=1e-9, atol=1e-12)


def test_alpha_beta_of_explainiverse_drops_the_bias() -> None:
    """Equal with b excluded; with b in, as Bach et al. have it, relevance is less by b's share."""
    model, x = network()
    given = {"alpha": 2.0, "beta": 1.0, "epsilon": 1e-6}
    params = {"alpha": 2.0, "beta": 1.0, "eps": 1e-6}
    expected = theirs(model, x, "alpha_beta", **given)
    found = ours(model, x, "alpha_beta", 1e-6, bias="excluded", **params)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    usual = ours(model, x, "alpha_beta", 1e-6, **params)
    assert not torch.allclose(usual, expected, rtol=1e-2)
    for layer in model:  # and what is left of the difference without biases is none
        if isinstance(layer, nn.Linear):
            layer.bias.data.zero_()
    torch.testing.assert_close(
        ours(model, x, "alpha_beta", 1e-6, **params), theirs(model, x, "alpha_beta", **given)
    )


def test_z_plus_of_explainiverse_wants_inputs_that_are_not_negative() -> None:
    model, x = network()
    with pytest.raises(ValueError, match="z_plus requires non-negative inputs"):
        theirs(model, x, "z_plus")
    assert ours(model, x, "z_plus", 1e-6, eps=1e-6).any()


def test_alpha_beta_of_explainiverse_has_no_convolutions() -> None:
    model, x = network(convolutional=True)
    with pytest.raises(NotImplementedError, match="unsupported: Conv2d"):
        theirs(model, x, "alpha_beta")
    assert ours(model, x, "alpha_beta", 1e-6).any()
