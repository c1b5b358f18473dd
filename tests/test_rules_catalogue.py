"""Rules that are refused, and that none is without a twin."""

from __future__ import annotations

import math

import pytest

from lrpc.errors import RuleError
from lrpc.rules import CATALOGUE, make
from tests.test_rules_bilinear import BILINEAR
from tests.test_rules_linear import linear_cases
from tests.test_rules_nonlinear import ACTIVATIONS
from tests.test_rules_structure import STRUCTURE


@pytest.mark.parametrize(
    ("op", "rule", "params", "text"),
    [
        ("linear", "epsilon", {"eps": -1}, "rule epsilon: eps=-1 is outside [0, inf]"),
        ("linear", "epsilon", {"eps": "x"}, "rule epsilon: eps='x' must be a finite number"),
        ("linear", "epsilon", {"eps": math.inf}, "rule epsilon: eps=inf must be a finite number"),
        ("linear", "epsilon", {"eps": True}, "rule epsilon: eps=True must be a finite number"),
        ("linear", "epsilon", {"bias": 0}, "rule epsilon: bias=0 is not one of absorb, excluded"),
        (
            *("linear", "epsilon", {"gamma": 1}),
            "rule epsilon has no parameter 'gamma'; it has: eps, bias",
        ),
        ("matmul", "share", {"ratio": 1.5}, "rule share: ratio=1.5 is outside [0, 1]"),
        ("softmax", "taylor", {"eps": 0}, "rule taylor has no parameter 'eps'; it has: none"),
        (
            *("linear", "epsilom", {}),
            "unknown rule 'epsilom'; did you mean epsilon? (see `lrpc rules`)",
        ),
        ("exp", "epsilon", {}, "no relevance rule exists for exp yet"),
    ],
)
def test_bad_rules_are_refused(op: str, rule: str, params: dict[str, object], text: str) -> None:
    with pytest.raises(RuleError) as caught:
        make(op, rule, params)
    assert str(caught.value) == text


def test_every_rule_has_a_twin() -> None:
    """A rule that is added wants a twin here first."""
    structure = {c.op for c, _ in STRUCTURE.values()} | {"shift", "reshape", "expand"}
    held = {(op, rule) for op in structure for rule in ("pass", "gradient_input")}
    held |= {("detach", "detach"), ("softmax", "taylor"), ("softmax", "detach")}
    held |= {("softmax", "gradient_input"), ("deform_sample", "gradient_input")}
    held |= {("deform_sample", "value"), ("deform_sample", "value_and_weights")}
    activations = {op for op, _, _ in ACTIVATIONS.values()}
    held |= {(op, rule) for op in activations for rule in ("pass", "gradient_input")}
    linear = {case.op for case, _, _ in linear_cases().values()}
    held |= {(op, rule) for op in linear | {"add", "sub"} for rule in ("epsilon", "gradient_input")}
    bilinear = {case.op for case, _ in BILINEAR.values()}
    held |= {(op, rule) for op in bilinear for rule in ("uniform", "share", "gradient_input")}
    norms = {"layer_norm", "group_norm"}
    held |= {(op, rule) for op in norms for rule in ("detach_sigma", "gradient_input")}
    assert held == set(CATALOGUE)
