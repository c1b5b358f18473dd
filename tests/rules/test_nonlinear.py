"""Rules of norms and activations against slow float64 twins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.errors import RuleError
from lrpc.ir.interpreter import interpret
from passes.lower_relevance import LowerRelevance
from tests.support.graphs import module
from tests.support.one_node import Case, flow
from tests.support.twins import (
    back,
    check,
    columns,
    jacobian,
    n,
    seeds_for,
    stab,
)


def norm_cases(affine: bool) -> list[tuple[Case, Callable[[Tensor], Tensor], Tensor, Tensor]]:
    """Case, the whole map, its matrix with σ constant, β in the output's shape."""
    torch.manual_seed(0)
    found: list[tuple[Case, Callable[[Tensor], Tensor], Tensor, Tensor]] = []
    for op, groups in (("layer_norm", 0), ("group_norm", 2)):
        x, channels = n(2, 4, 3), 3 if op == "layer_norm" else 4
        w, b = n(channels), n(channels)
        attrs: dict[str, Any] = {"eps": 1e-3} | ({"groups": groups} if groups else {})
        shape = (-1,) if op == "layer_norm" else (-1, 1)
        gain = w.reshape(shape) if affine else torch.ones(()).double()
        beta = (b.reshape(shape) if affine else torch.zeros(()).double()).expand_as(x)
        rows = (2, 2, -1) if groups else x.shape

        def centred(v: Tensor, rows: Any = rows) -> Tensor:
            part = v.reshape(rows)
            return (part - part.mean(-1, keepdim=True)).reshape(v.shape)

        part = x.reshape(rows)
        sigma = (part.var(-1, correction=0, keepdim=True) + 1e-3).sqrt().expand_as(part)
        sigma = sigma.reshape(x.shape)
        matrix = columns(lambda v, s=sigma, a=gain, c=centred: a * c(v) / s, x)  # type: ignore[misc]

        def whole(v: Tensor, op: str = op, w: Tensor = w, b: Tensor = b) -> Tensor:
            gain, shift = (w, b) if affine else (None, None)
            if op == "layer_norm":
                return F.layer_norm(v, (3,), gain, shift, 1e-3)
            return F.group_norm(v, 2, gain, shift, 1e-3)

        weights = {"weight": w, "bias": b} if affine else {}
        found.append((Case(op, (x,), attrs, weights), whole, matrix, beta))
    return found


@pytest.mark.parametrize("eps", [0.0, 0.5])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("which", [0, 1], ids=["layer_norm", "group_norm"])
def test_detach_sigma(which: int, affine: bool, eps: float) -> None:
    case, whole, matrix, beta = norm_cases(affine)[which]
    (x,) = case.inputs
    z = whole(x)
    torch.testing.assert_close((matrix @ x.flatten()).reshape(x.shape) + beta, z)
    found = check(case, "detach_sigma", z, lambda r: [back(matrix, r / stab(z, eps), x)], eps=eps)
    assert ("bias" in found.sinks) == affine


@pytest.mark.parametrize("how", ["excluded", "spread"])
@pytest.mark.parametrize("which", [0, 1], ids=["layer_norm", "group_norm"])
def test_detach_sigma_keeps_what_its_shift_would_take(which: int, how: str) -> None:
    """Without β in the denominator, or with β's share given to the inputs of its row, equally."""
    case, whole, matrix, beta = norm_cases(True)[which]
    (x,) = case.inputs
    z, size = whole(x), 3 if case.op == "layer_norm" else x[0].numel() // 2

    def expected(r: Tensor) -> list[Tensor]:
        if how == "excluded":
            return [back(matrix, r / stab(z - beta, 0.1), x)]
        s = r / stab(z, 0.1)
        mean = (s * beta).reshape(-1, size).mean(1, keepdim=True)
        return [back(matrix, s, x) + mean.expand(-1, size).reshape(x.shape)]

    found = check(case, "detach_sigma", z, expected, eps=0.1, bias=how)
    assert set(found.sinks) <= {"epsilon"}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("which", [0, 1], ids=["layer_norm", "group_norm"])
def test_gradient_input_on_norms(which: int, affine: bool) -> None:
    case, whole, _, _ = norm_cases(affine)[which]
    (x,) = case.inputs
    z, matrix = whole(x), jacobian(whole, x)
    check(case, "gradient_input", z, lambda r: [back(matrix, r / z, x)])


ACTIVATIONS: dict[str, tuple[str, dict[str, Any], Callable[[Tensor], Tensor]]] = {
    "relu": ("relu", {}, torch.relu),
    "leaky_relu": ("leaky_relu", {"slope": 0.2}, lambda x: F.leaky_relu(x, 0.2)),
    "gelu": ("gelu", {"approximate": "none"}, F.gelu),
    "gelu tanh": ("gelu", {"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
    "silu": ("silu", {}, F.silu),
    "sigmoid": ("sigmoid", {}, torch.sigmoid),
    "tanh": ("tanh", {}, torch.tanh),
    "relu6": ("relu6", {}, lambda x: 6 - torch.relu(6 - torch.relu(x))),
    "elu": ("elu", {}, lambda x: torch.relu(x) + torch.exp(-torch.relu(-x)) - 1),
    "hardswish": ("hardswish", {}, lambda x: x * (6 - torch.relu(6 - torch.relu(x + 3))) / 6),
    "mish": ("mish", {}, lambda x: x * torch.tanh(torch.log(1 + torch.exp(x)))),
    "centred_softplus": ("centred_softplus", {}, lambda x: torch.log((1 + torch.exp(x)) / 2)),
}


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_activations_pass(name: str) -> None:
    """R_x = R_z, but for the share of f(0)."""
    op, attrs, f = ACTIVATIONS[name]
    x = 4 * n(2, 3, 4)  # beyond every kink
    z, nothing = f(x), f(torch.zeros(()).double())
    safe = torch.where(z == 0, 1.0, z)
    found = check(Case(op, (x,), attrs), "pass", z, lambda r: [r * (z - nothing) / safe])
    assert ("bias" in found.sinks) == (name == "sigmoid")


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_gradient_input_on_activations(name: str) -> None:
    op, attrs, f = ACTIVATIONS[name]
    x = 4 * n(2, 3, 4)  # beyond every kink
    slope = jacobian(f, x).diagonal().reshape(x.shape)
    z = f(x)
    check(
        Case(op, (x,), attrs), "gradient_input", z,
        lambda r: [x * slope * r / torch.where(z == 0, 1.0, z)],
    )  # fmt: skip


# -- elementwise functions -------------------------------------------------------------------------


def positive(*shape: int) -> Tensor:
    return n(*shape).abs() + 0.1


FUNCTIONS: dict[str, tuple[str, dict[str, Any], Callable[[Tensor], Tensor], float | None]] = {
    # operation, attributes, f, and f(0): None where R itself is passed on
    "abs": ("abs", {}, lambda x: torch.where(x < 0, -x, x), 0.0),
    "exp": ("exp", {}, torch.exp, 1.0),
    "sin": ("sin", {}, torch.sin, 0.0),
    "cos": ("cos", {}, torch.cos, 1.0),
    "clamp around 0": ("clamp", {"min": -1.0, "max": 2.0}, lambda x: x.clamp(-1, 2), 0.0),
    "clamp at 0": ("clamp", {"min": 0.0}, torch.relu, 0.0),
    "clamp above 0": ("clamp", {"min": 0.5, "max": 2.0}, lambda x: x.clamp(0.5, 2), 0.5),
    "clamp below 0": ("clamp", {"max": -0.5}, lambda x: x.clamp(max=-0.5), -0.5),
    "square": ("pow", {"exponent": 2}, lambda x: x * x, 0.0),
    "cube": ("pow", {"exponent": 3}, lambda x: x * x * x, 0.0),
    "power above 1": ("pow", {"exponent": 1.5}, lambda x: x * x.sqrt(), 0.0),
    "power below 1": ("pow", {"exponent": 0.25}, lambda x: x.sqrt().sqrt(), None),
    "sqrt": ("sqrt", {}, lambda x: torch.exp(torch.log(x) / 2), None),
    "log": ("log", {}, torch.log, None),
    "log1p": ("log1p", {}, lambda x: torch.log(1 + x), 0.0),
    "erf": ("erf", {}, lambda x: 2 * F.gelu(2**0.5 * x) / (2**0.5 * x) - 1, 0.0),
}
INVERSES: dict[str, tuple[str, dict[str, Any], Callable[[Tensor], Tensor]]] = {
    "reciprocal": ("reciprocal", {}, lambda x: 1 / x),
    "inverse root": ("pow", {"exponent": -0.5}, lambda x: 1 / x.sqrt()),
    "inverse cube": ("pow", {"exponent": -3}, lambda x: 1 / (x * x * x)),
}
OF_POSITIVE = {"sqrt", "log", "log1p", "power above 1", "power below 1", "inverse root"}


def argument(name: str) -> Tensor:
    return positive(2, 3, 4) if name in OF_POSITIVE else 2 * n(2, 3, 4)


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_functions_pass(name: str) -> None:
    """R_x = R_z, but for the share of f(0)."""
    op, attrs, f, nothing = FUNCTIONS[name]
    x = argument(name)
    z = f(x)
    safe = torch.where(z == 0, 1.0, z)
    found = check(Case(op, (x,), attrs), "pass", z, lambda r: [r * (z - (nothing or 0.0)) / safe])
    assert ("bias" in found.sinks) == bool(nothing)


@pytest.mark.parametrize("name", [*FUNCTIONS, *INVERSES])
def test_gradient_input_on_functions(name: str) -> None:
    op, attrs, f = (FUNCTIONS | INVERSES)[name][:3]  # type: ignore[operator]
    x = argument(name)
    slope = jacobian(f, x).diagonal().reshape(x.shape)
    z = f(x)
    check(
        Case(op, (x,), attrs), "gradient_input", z,
        lambda r: [x * slope * r / torch.where(z == 0, 1.0, z)],
    )  # fmt: skip


@pytest.mark.parametrize("name", list(INVERSES))
def test_what_normalises_takes_nothing(name: str) -> None:
    op, attrs, f = INVERSES[name]
    x = argument(name)
    found = flow(Case(op, (x,), attrs), "detach", g := seeds_for(x))
    torch.testing.assert_close(found.sinks["detached"], (g * f(x)).sum((2, 3)))
    assert found.inputs[0].dim() == 1  # nothing was sent there


def test_a_product_with_what_normalises_gives_all_to_the_other_factor() -> None:
    """x ⊙ x⁻¹ᐟ², the inverse root detached, keeps R where half of it would have been lost."""
    text = """
    graph @g(%x: f64[B,4]) {
      %i: f64[B,4] = pow(%x) {exponent=-0.5} rule=detach
      %z: f64[B,4] = mul(%x, %i) rule=uniform(eps=0.0)
      place "z" %z
      place "x" %x
      return %z
    }
    """
    joint = LowerRelevance("z", ("x",)).run(module(text))
    x, seed = positive(2, 4), n(1, 2, 4)
    values = interpret(joint.graph, joint.tensors, {"x": x, "seed": seed}, keep=True)
    (read,) = (node for node in joint.graph.nodes if node.op == "read")
    g = values[read.inputs[0].name]
    torch.testing.assert_close(g * x, seed * values["z"])


@pytest.mark.parametrize("name", list(FUNCTIONS))
@pytest.mark.parametrize("rule", ["pass", "gradient_input"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_functions_at_and_near_zero(name: str, rule: str, dtype: torch.dtype) -> None:
    """Zeros and denormals: relevance is finite, and of an exact 0 it is 0."""
    op, attrs, *_ = FUNCTIONS[name]
    tiny = torch.finfo(dtype).smallest_normal
    x = torch.tensor([[0.0, tiny, 4 * tiny, 1e-20, 1e-9, 1e-4]], dtype=dtype)
    if op == "log":
        x = x[:, 1:]
    found = flow(Case(op, (x,), attrs), rule, torch.ones(1, *x.shape, dtype=dtype))
    assert all(torch.isfinite(v).all() for v in (*found.inputs, *found.given.values()))
    assert op == "log" or found.inputs[0][0, 0, 0] == 0


@pytest.mark.parametrize("exponent", [0, -1.5])
def test_powers_without_a_share_at_zero_are_refused(exponent: float) -> None:
    case = Case("pow", (positive(2, 3),), {"exponent": exponent})
    with pytest.raises(RuleError, match=r"rule pass: x \*\* .* give it the rule detach"):
        flow(case, "pass", n(1, 2, 3))
