"""What is given to `lrpc.compile` and `lrpc.composite` has a result, or a refusal of one line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lrpc
from lrpc.errors import LrpcError, LrpcWarning

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
MODEL = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()


def refusal(call: Callable[[], object]) -> str:
    """What a call is refused with, in one line."""
    with pytest.raises(LrpcError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


class NoForward(nn.Module):
    """A module that computes nothing."""


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (None, "a model is a torch.nn.Module, got NoneType; wrap it in one"),
        ("resnet50", "a model is a torch.nn.Module, got str; wrap it in one"),
        (torch.relu, "a model is a torch.nn.Module, got builtin_function_or_method; wrap it"),
        (nn.Linear, "a model is a torch.nn.Module, got type; wrap it in one"),
        (functools.partial(MODEL), "a model is a torch.nn.Module, got partial; wrap it in one"),
        (NoForward(), "NoForward has no forward; give the module that computes"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_models_that_are_none(model: Any, told: str) -> None:
    assert refusal(lambda: lrpc.compile(model, (X,))).startswith(told)


def in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return nn.Linear(4, 2).eval()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"model": in_inference_mode()}, "weight was made in inference mode; build the model out"),
        ({"args": None}, "args is None; give the example inputs as a tuple"),
        ({"args": X}, "args is a Tensor; give the example inputs as a tuple"),
        ({"args": (X.numpy(),)}, "no tensor among the example arguments of Sequential"),
        ({"args": (X.to_sparse(),)}, "input 'input' is no dense tensor; give it with to_dense()"),
        ({"args": (X * float("nan"),)}, "input 'input' holds NaN; give an example that the model"),
        ({"args": (X.to("meta"),)}, "input 'input' is on meta: models are compiled on the CPU"),
        ({"kwargs": 3}, 'kwargs is a int; give arguments by name, as in {"x": x}'),
        ({"kwargs": "x"}, 'kwargs is a str; give arguments by name, as in {"x": x}'),
        *(
            ({"seeds": seeds}, f"seeds must be a number from 1 to 1,000,000, got {seeds!r}")
            for seeds in (0, -1, True, 2.5, "3", None, [1], 10**30)
        ),
        ({"scope": None}, "scope takes a text, got None"),
        ({"scope": "7"}, "no module '7' in the model; nearest: "),
        ({"read": "0"}, "read takes names for places and the module of each"),
        ({"read": ["0"]}, "read takes names for places and the module of each"),
        ({"read": {5: "0"}}, "read: a place is called by a text on one line, got 5"),
        ({"read": {"a\nb": "0"}}, "read: a place is called by a text on one line, got 'a\\nb'"),
        ({"read": {"a": 0}}, "read: 'a' is at the path of a module, a text, got 0"),
        ({"read": {"a": "7"}}, "no module '7' in the model; nearest: "),
        ({"read": {"input.input": "0"}}, "read: 'input.input' is an input, read anyway; give the"),
        ({"unbatched": "input"}, 'unbatched takes a list of inputs, as in unbatched=["x"], got'),
        ({"unbatched": None}, 'unbatched takes a list of inputs, as in unbatched=["x"], got'),
        ({"unbatched": ["inptu"]}, "unbatched: no input is called 'inptu'; did you mean 'input'?"),
        ({"fold_batch_norm": 1}, "fold_batch_norm takes True or False, got 1"),
        ({"compile": "yes"}, "compile takes True or False, got 'yes'"),
        ({"capture": True}, "capture=True records CUDA graphs, and this program is on cpu"),
        ({"keep_pages": None}, "keep_pages takes True or False, got None"),
        ({"precision": None}, "precision takes a text, got None"),
        ({"precision": "fp8"}, "precision='fp8' is unknown; choose among fp64, fp32, tf32, bf16"),
        ({"checkpoint": "all"}, "checkpoint='all': choose among auto, none, block"),
        (
            {"budget": True},
            'budget: expected "", bytes as in "800 MB", or "1%" to "100%", got true',
        ),
        ({"composite": None}, "composite takes a name, or several in a list or mapping, got None"),
        ({"composite": {"epsilon"}}, "composite takes a name, or several in a list or mapping"),
        ({"composite": "epsilom"}, "unknown composite 'epsilom'; did you mean epsilon?"),
        ({"composite": {"a": 5}}, "a composite is a name or a mapping with composite, epsilon"),
        ({"epsilon": -1}, "epsilon must be a finite number from 0 up, got -1"),
        ({"epsilon": True}, "epsilon must be a finite number from 0 up, got True"),
        ({"epsilon": float("nan")}, "epsilon must be a finite number from 0 up, got nan"),
        ({"rules": "gamma"}, "rules are a list of mappings, as in [{"),
        ({"rules": {"rule": "gamma"}}, "rules are a list of mappings, as in [{"),
        ({"rules": [None]}, "rules are a list of mappings, as in [{"),
        ({"rules": [{"rule": "epsilon", "role": 5}]}, "rule epsilon: role must be a text, got 5"),
        ({"rules": [{"rule": "epsilon", "layers": "ab"}]}, "rule epsilon: layers must be [first,"),
        ({"rules": [{"rule": "epsilon", "layers": [2, 1]}]}, "rule epsilon: layers must be [first"),
        (
            {"rules": [{"rule": "epsilon", "role": "liner"}]},
            "rule epsilon: no operation of the model has the role 'liner'; did you mean 'linear'?",
        ),
        (
            {"rules": [{"rule": "epsilon", "module": "7.*"}]},
            "rule epsilon: no operation of the model has the module '7.*'",
        ),
        (
            {"rules": [{"rule": "gamma", "op": "conv2e"}]},
            "rule gamma: unknown operation 'conv2e'; did you mean conv2d?",
        ),
        (
            {"rules": [{"rule": "gamma", "op": "linear|conf2d"}]},
            "rule gamma: unknown operation 'conf2d'; did you mean conv2d?",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_cannot_be_compiled_is_named(given: dict[str, Any], told: str) -> None:
    call = {"model": MODEL, "args": (X,), "composite": "epsilon", **given}
    assert refusal(lambda: lrpc.compile(**call)).startswith(told)


def test_a_module_that_holds_others_is_chosen_with_a_star() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), nn.Linear(3, 2)).eval()
    told = refusal(lambda: lrpc.compile(model, (X,), rules=[{"rule": "gamma", "module": "0"}]))
    assert told.endswith("has the module '0'; did you mean '0.*'?")


UNUSED = "rule gamma ({}) is not used: {}"
NOTHING = "no operation that carries relevance matches it"


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([{"rule": "gamma", "role": "convolution"}], UNUSED.format("role convolution", NOTHING)),
        (
            [{"rule": "gamma", "role": "linear", "module": "0.1"}],  # a ReLU
            UNUSED.format("role linear, module 0.1", NOTHING),
        ),
        (
            [{"rule": "gamma", "role": "linear", "layers": [4, 7]}],
            UNUSED.format("role linear, layers [4, 7]", NOTHING),
        ),
        ([{"rule": "gamma", "classes": True}], UNUSED.format("classes", NOTHING)),
        (
            [{"rule": "gamma", "module": "0.1"}],
            UNUSED.format("module 0.1", "no operation that matches it has this rule"),
        ),
        (
            [{"rule": "flat", "role": "linear"}, {"rule": "gamma", "role": "linear"}],
            UNUSED.format("role linear", "entries before it take all that it matches"),
        ),
    ],
)
def test_rules_that_are_used_nowhere_are_named(rules: list[dict[str, Any]], told: str) -> None:
    """One line, no error: rules serve several models."""
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), nn.Linear(3, 2)).eval()
    with pytest.warns(LrpcWarning) as caught:
        program = lrpc.compile(model, (X,), rules=rules)
    assert [str(one.message) for one in caught] == [told]
    assert told in program.manifest["settings"]["notes"]


def test_of_several_composites_that_which_does_not_use_a_rule_is_named() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    unused = {"composite": "epsilon", "rules": [{"rule": "gamma", "role": "convolution"}]}
    with pytest.warns(LrpcWarning) as caught:
        lrpc.compile(model, (X,), composite={"a": "epsilon", "b": unused})
    told = f"rule gamma (role convolution) of composite b is not used: {NOTHING}"
    assert [str(one.message) for one in caught] == [told]


def test_a_rule_by_module_is_for_those_operations_that_have_it() -> None:
    """A module reshapes and adds, too."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.inner(x.unflatten(-1, (2, 2))).flatten(-2)

    model = nn.Sequential(Block(), nn.Linear(4, 2)).eval()
    rules = [{"rule": "gamma", "module": "0*", "gamma": 0.5}]
    found = lrpc.compile(model, (X,), composite="epsilon", rules=rules).manifest["rules"]
    assert [k for k, v in found.items() if v == "gamma(gamma=0.5, eps=1e-06)"] == ["inner"]
    by_layer = [{"rule": "epsilon", "bias": "excluded", "layers": [0, 0]}]
    found = lrpc.compile(model, (X,), composite="epsilon", rules=by_layer).manifest["rules"]
    assert [k for k, v in found.items() if "excluded" in v] == ["inner"]


def test_numbers_of_any_kind_are_numbers() -> None:
    plain = lrpc.compile(MODEL, (X,), composite="epsilon", seeds=4, epsilon=0.5)
    numpy = lrpc.compile(
        MODEL, (X,), composite="epsilon", seeds=np.int64(4), epsilon=np.float32(0.5)
    )
    assert plain.manifest["sha256"] == numpy.manifest["sha256"]


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        (None, {}, "a composite is given by its name, as in 'attnlrp', got None"),
        (["gamma"], {}, "a composite is given by its name, as in 'attnlrp', got ['gamma']"),
        ("gama", {}, "unknown composite 'gama'; did you mean gamma?"),
        ("gamma", {"epsilon": None}, "epsilon must be a finite number from 0 up, got None"),
        ("gamma", {"rules": 5}, "rules are a list of mappings, as in [{"),
        ("gamma", {"stop_at_detach": "no"}, "stop_at_detach takes True or False, got 'no'"),
        ("gamma", {"conv_gama": 1}, "composite gamma has no option conv_gama; it has: conv_gamma"),
        ("gamma", {"conv_gamma": True}, "conv_gamma (LRPC.GAMMA.CONVOLUTION): rule gamma: gamma=T"),
        ("gamma", {"conv_gamma": float("nan")}, "conv_gamma (LRPC.GAMMA.CONVOLUTION): rule gamma"),
        ("gamma", {"linear_gamma": -1}, "linear_gamma (LRPC.GAMMA.LINEAR): rule gamma: gamma=-1"),
    ],
)
def test_composites_that_there_are_not(name: Any, options: dict[str, Any], told: str) -> None:
    assert refusal(lambda: lrpc.composite(name, **options)).startswith(told)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"program": None}, "compare takes loaded programs, got NoneType"),
        ({"program": {}}, "no program to compare is given"),
        ({"inputs": None}, "inputs are a tensor, or several, got NoneType"),
        ({"inputs": "x"}, "inputs are a tensor, or several, got str"),
        ({"composites": "epsilon"}, "composites is a list of names, got 'epsilon'"),
        ({"composites": ["epsilom"]}, "no composite 'epsilom'; it has: epsilon"),
        ({"at": [(9,)]}, "output: index0 must lie in 0..1, got 9"),
    ],
)
def test_what_cannot_be_compared_is_named(given: dict[str, Any], told: str) -> None:
    program = lrpc.compile(MODEL, (X,), composite="epsilon")
    call = {"program": program, "inputs": X, "at": [(0,)], **given}
    assert refusal(lambda: lrpc.compare(**call)) == told
