"""Rules of softmax, norms and activations against slow float64 twins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

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


@pytest.mark.parametrize("rule", ["taylor", "gradient_input"])
@pytest.mark.parametrize("dim", [-1, -2])
def test_softmax(rule: str, dim: int) -> None:
    x = n(2, 3, 4)
    s = x.softmax(dim)
    found = check(
        Case("softmax", (x,), {"dim": dim}), rule, s,
        lambda r: [x * (r - s * r.sum(dim, keepdim=True))],
    )  # fmt: skip
    assert list(found.sinks) == ["softmax"]


def test_softmax_detached() -> None:
    x = n(2, 3, 4)
    found = flow(Case("softmax", (x,), {"dim": -1}), "detach", g := seeds_for(x))
    torch.testing.assert_close(found.sinks["detached"], (g * x.softmax(-1)).sum((2, 3)))
    assert found.inputs[0].dim() == 1


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
}


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_activations_pass(name: str) -> None:
    """R_x = R_z, but for the share of f(0)."""
    op, attrs, f = ACTIVATIONS[name]
    x = 2 * n(2, 3, 4)
    z, nothing = f(x), f(torch.zeros(()).double())
    safe = torch.where(z == 0, 1.0, z)
    found = check(Case(op, (x,), attrs), "pass", z, lambda r: [r * (z - nothing) / safe])
    assert ("bias" in found.sinks) == (name == "sigmoid")


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_gradient_input_on_activations(name: str) -> None:
    op, attrs, f = ACTIVATIONS[name]
    x = 2 * n(2, 3, 4)
    slope = jacobian(f, x).diagonal().reshape(x.shape)
    z = f(x)
    check(
        Case(op, (x,), attrs), "gradient_input", z,
        lambda r: [x * slope * r / torch.where(z == 0, 1.0, z)],
    )  # fmt: skip
