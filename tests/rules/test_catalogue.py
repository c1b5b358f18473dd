"""Rules that are refused, and that none is without a twin."""

from __future__ import annotations

import math

import pytest

from lrpc.errors import RuleError
from lrpc.rules import CATALOGUE, make
from tests.rules.test_bilinear import BILINEAR
from tests.rules.test_embedding import EMBEDDING
from tests.rules.test_linear import CLASS_AXES, RULES, linear_cases
from tests.rules.test_nonlinear import ACTIVATIONS, FUNCTIONS, INVERSES
from tests.rules.test_norms import OPS as NORM_OPS
from tests.rules.test_norms import RULES as NORMS
from tests.rules.test_rms_norm import RMS_NORM
from tests.rules.test_softmax import RULES as SOFTMAX
from tests.rules.test_structure import STRUCTURE
from tests.rules.test_sums import WEIGHTS

SUMS = (*WEIGHTS, "skip")
DEFORMABLE = (
    *("value", "value_and_weights", "locations", "splat", "splat_value", "gradient_input"),
)


@pytest.mark.parametrize(
    ("op", "rule", "params", "text"),
    [
        ("linear", "epsilon", {"eps": -1}, "rule epsilon: eps=-1 is outside [0, inf]"),
        ("linear", "epsilon", {"eps": "x"}, "rule epsilon: eps='x' must be a finite number"),
        ("linear", "epsilon", {"eps": math.inf}, "rule epsilon: eps=inf must be a finite number"),
        ("linear", "epsilon", {"eps": True}, "rule epsilon: eps=True must be a finite number"),
        (
            "linear",
            "epsilon",
            {"bias": 0},
            "rule epsilon: bias=0 is not one of absorb, excluded, spread, by_activation",
        ),
        (
            *("linear", "epsilon", {"gamma": 1}),
            "rule epsilon has no parameter 'gamma'; it has: eps, bias, bias_factor",
        ),
        ("matmul", "share", {"ratio": 1.5}, "rule share: ratio=1.5 is outside [0, 1]"),
        ("softmax", "taylor", {"eps": 0}, "rule taylor has no parameter 'eps'; it has: none"),
        (
            *("linear", "epsilom", {}),
            "unknown rule 'epsilom'; did you mean epsilon? (see `lrpc rules`)",
        ),
        ("linear", "gamma", {"gamma": -0.5}, "rule gamma: gamma=-0.5 is outside [0, inf]"),
        (
            *("linear", "alpha_beta", {"alpha": 2, "beta": 2}),
            "rule alpha_beta: alpha=2 and beta=2, but alpha − beta must be 1: positive"
            " contributions get α times the relevance and negative ones −β times, which together"
            " must be all of it",
        ),
        (
            *("conv2d", "z_box", {"high": 1}),
            "rule z_box needs low: the smallest value an input can have; (0 − mean)/std for images",
        ),
        ("conv2d", "z_box", {"low": 1, "high": 0.5}, "rule z_box: low=1 is above high=0.5"),
        (
            *("conv2d", "z_box", {"low": (-1, 0.7), "high": 0.5}),
            "rule z_box: low=0.7 is above high=0.5",
        ),
        (
            *("conv2d", "z_box", {"low": (-1, 0), "high": (1, 1, 1)}),
            "rule z_box: 2 numbers for low, 3 for high",
        ),
        (
            *("conv2d", "z_box", {"low": (-1, "x"), "high": 0.5}),
            "rule z_box: low='x' must be a finite number or a list of them",
        ),
        ("linear", "flat", {"eps": [1, 2]}, "rule flat: eps=[1, 2] must be a finite number"),
        ("compare", "epsilon", {}, "no relevance rule exists for compare yet"),
    ],
)
def test_bad_rules_are_refused(op: str, rule: str, params: dict[str, object], text: str) -> None:
    with pytest.raises(RuleError) as caught:
        make(op, rule, params)
    assert str(caught.value) == text


def test_every_rule_has_a_twin() -> None:
    """A rule that is added wants a twin here first."""
    assert twin_tested() == set(CATALOGUE)


def twin_tested() -> set[tuple[str, str]]:
    """(op, rule) of every rule that a twin is written for."""
    structure = {c.op for c, _ in STRUCTURE.values()} | {"shift", "reshape", "expand"}
    held = {(op, rule) for op in structure for rule in ("pass", "gradient_input")}
    held |= {("softmax", rule) for rule in (*SOFTMAX, "epsilon", "detach")}
    held |= {("grid_sample", rule) for rule in ("value", "locations", "gradient_input")}
    held |= {("deform_sample", rule) for rule in DEFORMABLE} | {("detach", "detach")}
    activations = {op for op, _, _ in ACTIVATIONS.values()}
    held |= {(op, rule) for op in activations for rule in ("pass", "gradient_input")}
    held |= {(op, rule) for op, *_ in FUNCTIONS.values() for rule in ("pass", "gradient_input")}
    held |= {(op, rule) for op, *_ in INVERSES.values() for rule in ("detach", "gradient_input")}
    linear = {case.op for case, _, _ in linear_cases().values()}
    held |= {(op, rule) for op in linear | {"add", "sub"} for rule in ("epsilon", "gradient_input")}
    held |= {(op, rule) for op in ("add", "sub") for rule in SUMS}
    held |= {(op, rule) for op in linear for rule, _ in RULES}
    held |= {(op, "pass") for op in linear - {"interpolate"}}
    held |= {(linear_cases()[name][0].op, "contrast") for name in CLASS_AXES}
    held |= {(op, "epsilon") for op in ("sum", "mean", "cumsum", "scatter_sum")} | {
        ("cumsum", "gradient_input")
    }
    bilinear = {case.op for case, _ in BILINEAR.values()}
    two = ("uniform", "share", "detach", "gradient_input")
    held |= {(op, rule) for op in bilinear for rule in two}
    held |= {(op, rule) for op in NORM_OPS for rule in (*NORMS, "detach_sigma", "gradient_input")}
    held |= {("rms_norm", rule) for rule in RMS_NORM} | {("embedding", rule) for rule in EMBEDDING}
    return held
