"""`lrpc.LRPExplainer`: what it answers, against autograd, the formulas and explainiverse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.errors import LrpcError
from tests.support.tiny import tiny


def network() -> tuple[nn.Sequential, Tensor]:
    """All kinds of layers that explainiverse knows of; inputs and maps' inputs at least 0."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout()),
        *(nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)),
    )
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2)
    return model.double(), torch.rand(3, 1, 8, 8, dtype=torch.float64)


@pytest.fixture(scope="module")
def explainer() -> Any:
    return lrpc.LRPExplainer(*network(), epsilon=0.0, class_names=["a", "b", "c"])


def test_without_stabiliser_it_is_input_times_gradient(explainer: Any) -> None:
    """An oracle that shares no code: ε = 0 and pass make plain gradients of this network."""
    model, x = network()
    model.eval()
    given = x[:1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(given)[0, 2], given)
    found = explainer.explain(x[0], 2)
    torch.testing.assert_close(found.relevance, (x[:1] * gradient)[0])
    assert (found.target, found.label, found.rule) == (2, "c", "epsilon")
    assert found.output == pytest.approx(model(x)[0, 2].item())


def test_conservation_is_accounted_for(explainer: Any) -> None:
    found = explainer.explain(network()[1][1])
    assert found.delta == pytest.approx(found.output - float(found.relevance.sum()))
    assert found.delta == pytest.approx(sum(found.sinks.values()))
    assert abs(found.delta) > 0.01
    assert found.closure < 1e-12
    model = network()[0].eval()
    assert found.target == int(model(network()[1])[1].argmax())


def test_every_layer_has_the_relevance_of_its_input(explainer: Any) -> None:
    """At ε = 0: activation times gradient, at every layer."""
    model, x = network()
    model.eval()
    found = explainer.explain(x[0], 1)
    assert list(found.layers) == [str(i) for i in range(12)]
    value = x[:1]
    for i, layer in enumerate(model):
        leaf = value.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(model[i:](leaf)[0, 1], leaf)
        expected = (leaf * gradient)[0].detach()
        torch.testing.assert_close(found.layers[str(i)], expected, msg=str(i))
        value = layer(value)


def test_a_batch_is_its_inputs_one_by_one(explainer: Any) -> None:
    x = network()[1]
    for targets in (None, 1, [2, 0, 1]):
        together = explainer.explain_batch(x.numpy(), targets)
        for b, found in enumerate(together):
            target = targets[b] if isinstance(targets, list) else targets
            alone = explainer.explain(x[b], target)
            torch.testing.assert_close(found.relevance, alone.relevance)
            assert (found.target, found.output) == (alone.target, pytest.approx(alone.output))
            torch.testing.assert_close(found.layers["5"], alone.layers["5"])


def test_top_entries(explainer: Any) -> None:
    found = explainer.explain(network()[1][0])
    (first, most), *_ = found.top(3)
    assert most == float(found.relevance[first])
    assert abs(most) == float(found.relevance.abs().max())


def test_rules_are_compared_in_one_pass() -> None:
    model, x = network()
    explainer = lrpc.LRPExplainer(model, x)
    found = explainer.compare_rules(x[0], 1)
    assert list(found) == ["epsilon", "gamma", "z_plus", "alpha_beta"]
    torch.testing.assert_close(found["epsilon"].relevance, explainer.explain(x[0], 1).relevance)
    for name, one in found.items():
        alone = lrpc.LRPExplainer(model, x, name).explain(x[0], 1)
        torch.testing.assert_close(one.relevance, alone.relevance)
        assert one.closure < 1e-10
    mine: list[Any] = [{"rule": "gamma", "gamma": 0.0}, "epsilon"]
    none = explainer.compare_rules(x[0], 1, mine)
    torch.testing.assert_close(
        none["gamma"].relevance, none["epsilon"].relevance, rtol=1e-4, atol=0
    )


def test_layers_with_rules_of_their_own() -> None:
    model, x = network()
    own = lrpc.LRPExplainer(model, x, layers={"0": "w_square", "9": {"rule": "gamma", "gamma": 2}})
    rules = [
        {"module": "0", "rule": "w_square"},
        {"module": "9", "rule": "gamma", "gamma": 2},
    ]
    program: Any = lrpc.compile(
        model.eval(), (x,), composite="attnlrp", rules=rules, fold_batch_norm=False
    )
    expected = program(x, "output", at=[(0,)]).input[0]
    for b, found in enumerate(own.explain_batch(x, 0)):
        torch.testing.assert_close(found.relevance, expected[b])


def test_the_model_is_left_as_it_was() -> None:
    model, x = network()
    model[3].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    lrpc.LRPExplainer(model, x).compare_rules(x[0])
    assert [m.training for m in model] == [i != 3 for i in range(12)]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class Twice(nn.Module):
    """One layer that is called twice, and scores without an axis of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.head = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        score: Tensor = self.head(self.shared(self.shared(x).relu()).relu())
        return score[:, 0]


def test_a_layer_called_twice_and_a_single_score() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4)
    found = lrpc.LRPExplainer(Twice(), x).explain(x[0])
    assert list(found.layers) == ["shared@0", "shared@1", "head"]
    torch.testing.assert_close(found.layers["shared@0"], found.relevance)
    assert found.target == 0


def test_a_transformer() -> None:
    model, x = tiny()
    found = lrpc.LRPExplainer(model, x, "gamma").explain(x[0], 3)
    assert {"patches", "norm1", "linear1", "linear2", "head"} <= set(found.layers)
    assert found.closure < 1e-10


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda e, x: e.explain(x[0], 3), "target must lie in 0..2, got 3"),
        (lambda e, x: e.explain(x), "the input must be [1, 8, 8], got [3, 1, 8, 8]"),
        (lambda e, x: e.explain_batch(x[0]), "the input must be [B, 1, 8, 8], got [1, 8, 8]"),
        (lambda e, x: e.explain_batch(x, [0]), "1 targets are given for 3 inputs"),
        (lambda e, x: e.compare_rules(x[0], rules=["epsilom"]), "no rule 'epsilom' for linear"),
        (lambda e, x: e.compare_rules(x[0], rules=["flat", "flat"]), "give each rule once"),
        (lambda e, x: e.compare_rules(x[0], rules="epsilon"), "rules are a list of names or map"),
        (lambda e, x: e.compare_rules(x[0], rules=[None]), "a rule is a name, or a mapping of"),
        (lambda e, x: e.explain(x[0], True), "target must be the number of an output, or one"),
        (lambda e, x: e.explain(x[0], 1.0), "target must be the number of an output, or one"),
        (lambda e, x: e.explain(x[0], "1"), "target must be the number of an output, or one"),
        (lambda e, x: e.explain_batch(x, [0, 1, None]), "target must lie in 0..2, got None"),
        (lambda e, x: e.explain(None), "the input must be a tensor or array of numbers, got None"),
        (lambda e, x: e.explain("x"), "the input must be a tensor or array of numbers, got str"),
        (lambda e, x: e.explain([[1], [1, 2]]), "the input must be a tensor or array of numbers"),
        (lambda e, x: e.explain(x[0].to(torch.complex64)), "dense tensor of real numbers, got"),
        (lambda e, x: e.explain(x[0].to("meta")), "the input must be a dense tensor of real"),
        (lambda e, x: e.explain(x[0] * float("nan")), "holds NaN or infinity; repair the data"),
        (lambda e, x: e.explain(x[0]).top(-1), "count must be a number from 0 up, got -1"),
    ],
)
def test_refusals_are_one_line(explainer: Any, call: Any, text: str) -> None:
    with pytest.raises(LrpcError) as caught:
        call(explainer, network()[1])
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"model": None}, "a model is a torch.nn.Module, got NoneType"),
        ({"example": None}, "example is an input [B, ...] of the model, got None"),
        ({"example": torch.ones(3, 7)}, "the model fails on the example: RuntimeError: "),
        ({"rule": None}, "a rule is a name, or a mapping of `rule` and parameters, got None"),
        ({"rule": "epsilom"}, "no rule 'epsilom' for linear maps and convolutions; did you mean"),
        ({"epsilon": "small"}, "composite 'epsilon': epsilon must be a finite number from"),
        ({"layers": ["0"]}, "layers gives rules by module path, got list"),
        ({"layers": {"nope": "epsilon"}}, "rule epsilon: no operation of the model has the module"),
        ({"composite": "attnlrb"}, "unknown composite 'attnlrb'; did you mean attnlrp?"),
        ({"class_names": "abc"}, "class_names is a list of names, got 'abc'"),
        ({"device": "cdua"}, "device='cdua' is no device of torch"),
    ],
)
def test_what_it_cannot_be_made_of_is_named(given: dict[str, Any], text: str) -> None:
    model, x = network()
    with pytest.raises(LrpcError) as caught:
        lrpc.LRPExplainer(**{"model": model, "example": x, **given})
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


def test_targets_of_any_kind_of_integer(explainer: Any) -> None:
    x = network()[1]
    expected = explainer.explain_batch(x, [0, 1, 2])
    for same in (torch.tensor([0, 1, 2]), np.array([0, 1, 2]), (np.int64(0), torch.tensor(1), 2)):
        found = explainer.explain_batch(x, same)
        assert all(
            torch.equal(a.relevance, b.relevance) for a, b in zip(found, expected, strict=True)
        )


# -- beside explainiverse --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "mine"),
    [
        ("epsilon", "epsilon"),
        ("gamma", {"rule": "gamma_weight", "gamma": 0.25, "bias": "kept"}),
        ("z_plus", {"rule": "z_plus", "bias": "excluded"}),
    ],
)
def test_explainiverse_agrees_at_the_input_and_at_every_layer(rule: str, mine: Any) -> None:
    """Its γ and z⁺ are captum's: γ leaves b unscaled, z⁺ leaves b out; ε is 1e-9 there."""
    pytest.importorskip("captum")
    from tests.support.explainiverse_lrp import explainiverse_lrp

    theirs, adapter = explainiverse_lrp()
    model, x = network()
    names = [str(i) for i in range(64)]
    task = adapter(model, task="classification", class_names=["a", "b", "c"])
    explainer = theirs(task, names, rule=rule, epsilon=1e-9)
    expected = explainer.explain_with_layer_relevances(x[0].numpy(), 1)
    data = explainer.explain(x[0].numpy(), 1).explanation_data
    found = lrpc.LRPExplainer(model, x, mine, epsilon=1e-9).explain(x[0], 1)
    near(found.relevance, expected["input_relevances"])
    assert found.output == pytest.approx(expected["target_output"])
    assert found.delta == pytest.approx(data["signed_convergence_delta"], rel=1e-6)
    layers = [name for name in expected["layer_relevances"] if name.startswith("layer_")]
    assert len(layers) >= 7
    for name in layers:
        near(found.layers[name.split("_")[2]], expected["layer_relevances"][name])


def near(found: Tensor, expected: list[float]) -> None:
    want = np.array(expected)
    assert np.abs(found.flatten().numpy() - want).max() < 1e-7 * np.abs(want).max()


def test_the_forms_of_captum_and_zennit(explainer: Any) -> None:
    x = network()[1]
    found = explainer.attribute(x, target=1)
    each = explainer.explain_batch(x, 1)
    assert torch.equal(found, torch.stack([one.relevance for one in each]))
    with explainer as attributor:
        output, relevance = attributor(x, lambda scores: scores * torch.tensor([0.0, 1.0, 0.0]))
        assert output[:, 1].tolist() == [one.output for one in each]
        assert relevance == pytest.approx(found)
        start = torch.zeros_like(output)
        start[:, 1] = output[:, 1]
        assert torch.equal(attributor(x, start)[1], relevance)
