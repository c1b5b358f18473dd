"""Rules of norms that share out R, against slow float64 twins: one row after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.one_node import Case
from tests.support.twins import check, jacobian, n, stab

NORM_EPS = 1e-3


@dataclass(frozen=True)
class Norm:
    """A norm at x: the whole map, γ, β, μ and σ in x's shape, and which row each entry is of."""

    case: Case
    whole: Callable[[Tensor], Tensor]
    gain: Tensor
    mean: Tensor
    sigma: Tensor
    row: Tensor

    @property
    def x(self) -> Tensor:
        return self.case.inputs[0]


def norm(op: str, affine: bool, shape: tuple[int, int, int], seed: int) -> Norm:
    torch.manual_seed(seed)
    groups = shape[1] if op == "group_norm" else 0
    x = 2 * n(shape[0], 2 * groups, 3) if groups else 2 * n(*shape)
    w, b = n(x.shape[1 if groups else 2]), n(x.shape[1 if groups else 2])
    weights = ({"weight": w} | ({} if op == "rms_norm" else {"bias": b})) if affine else {}
    attrs: dict[str, Any] = {"eps": NORM_EPS} | ({"groups": groups} if groups else {})
    gain, shift = weights.get("weight"), weights.get("bias")

    def whole(v: Tensor) -> Tensor:
        if groups:
            return F.group_norm(v, groups, gain, shift, NORM_EPS)
        if op == "rms_norm":
            return F.rms_norm(v, v.shape[-1:], gain, NORM_EPS)
        return F.layer_norm(v, v.shape[-1:], gain, shift, NORM_EPS)

    row = torch.arange(x.numel()).reshape(x.shape)
    row = row // (6 if groups else shape[2])
    mean, sigma = torch.zeros_like(x), torch.zeros_like(x)
    for i in range(int(row.max()) + 1):
        part = x[row == i]
        mean[row == i] = 0.0 if op == "rms_norm" else part.mean()
        square = ((part - mean[row == i]) ** 2).mean()
        sigma[row == i] = (square + NORM_EPS).sqrt()
    ones = torch.ones_like(x)
    gains = ones if gain is None else ones * (gain[:, None] if groups else gain)
    return Norm(Case(op, (x,), attrs, weights), whole, gains, mean, sigma, row)


def per_row(norm: Norm, weights: Tensor, r: Tensor, eps: float, whole: bool) -> Tensor:
    """w / stab(Σ w) · ΣR in every row, or times R entry by entry."""
    found = torch.zeros_like(norm.x)
    for i in range(int(norm.row.max()) + 1):
        here = norm.row == i
        w = weights[here]
        found[here] = w / stab(w.sum(), eps) * (r[here].sum() if whole else r[here])
    return found


def back(norm: Norm, r: Tensor) -> Tensor:
    return (jacobian(norm.whole, norm.x).T @ r.flatten()).reshape(norm.x.shape)


def identity(norm: Norm, r: Tensor, eps: float) -> Tensor:
    return r


def local_linear(norm: Norm, r: Tensor, eps: float) -> Tensor:
    return norm.gain / norm.sigma * norm.x / stab(norm.whole(norm.x), eps) * r


def z_sign(norm: Norm, r: Tensor, eps: float) -> Tensor:
    return per_row(norm, norm.gain / norm.sigma * (norm.x - norm.mean), r, eps, True)


def taylor(norm: Norm, r: Tensor, eps: float) -> Tensor:
    return per_row(norm, norm.x * back(norm, r), r, eps, True)


def abs_grad_xmu(norm: Norm, r: Tensor, eps: float) -> Tensor:
    return per_row(norm, back(norm, r).abs() * (norm.x - norm.mean).abs(), r, eps, False)


def xmu(norm: Norm, r: Tensor, eps: float) -> Tensor:
    return per_row(norm, (norm.x - norm.mean).abs(), r, eps, False)


RULES: dict[str, tuple[Callable[[Norm, Tensor, float], Tensor], set[str]]] = {
    "identity": (identity, set()),
    "local_linear": (local_linear, {"epsilon", "bias"}),
    "z_sign": (z_sign, {"epsilon"}),
    "taylor": (taylor, {"epsilon"}),
    "abs_grad_xmu": (abs_grad_xmu, {"rescale"}),
    "xmu": (xmu, {"rescale"}),
}
OPS = ("layer_norm", "group_norm", "rms_norm")


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("op", OPS)
@settings(max_examples=4, deadline=None)
@given(
    affine=st.booleans(),
    eps=st.sampled_from([0.1, 0.7]),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(2, 4)),
    seed=st.integers(0, 99),
)
def test_norms(
    rule: str, op: str, affine: bool, eps: float, shape: tuple[int, int, int], seed: int
) -> None:
    # without γ the sum of x − μ is 0, and the sign of a rounding error would decide for z_sign
    at, (twin, sinks) = norm(op, affine or rule == "z_sign", shape, seed), RULES[rule]
    params = {} if rule == "identity" else {"eps": eps}
    found = check(at.case, rule, at.whole(at.x), lambda r: [twin(at, r, eps)], **params)
    assert found.sinks.keys() == sinks


@pytest.mark.parametrize("rule", ["z_sign", "taylor"])
def test_without_stabiliser_all_is_passed_on(rule: str) -> None:
    at, (twin, _) = norm("layer_norm", True, (2, 3, 4), 0), RULES[rule]
    found = check(at.case, rule, at.whole(at.x), lambda r: [twin(at, r, 0.0)], eps=0.0)
    lost, arrived = found.sinks["epsilon"].abs().max(), found.booked["out"].abs().max()
    assert float(lost / arrived) < 1e-12
