"""Rules of products and sums against slow float64 twins."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.support.one_node import Case, flow
from tests.support.twins import (
    SEEDS,
    Twin,
    back,
    check,
    closes,
    columns,
    n,
    seeds_for,
    stab,
)

BILINEAR: dict[str, tuple[Case, Callable[[Tensor, Tensor], Tensor]]] = {
    "mul": (Case("mul", (n(2, 3, 4), n(2, 3, 4))), torch.mul),
    "mul broadcast": (Case("mul", (n(2, 3, 4), n(2, 1, 4))), torch.mul),
    "matmul": (Case("matmul", (n(2, 3, 4), n(2, 4, 2))), torch.matmul),
    "einsum": (
        Case("einsum", (n(2, 3, 4), n(2, 5, 4)), {"equation": "bqc,bkc->bqk"}),
        lambda a, b: torch.einsum("bqc,bkc->bqk", a, b),
    ),
}


def bilinear_twin(name: str, eps: float, share: float) -> tuple[Case, Tensor, Twin]:
    case, f = BILINEAR[name]
    a, b = case.inputs
    z = f(a, b)
    left, right = columns(lambda v: f(v, b), a), columns(lambda v: f(a, v), b)

    def twin(r: Tensor) -> list[Tensor]:
        s = r / stab(z, eps)
        return [share * back(left, s, a), (1 - share) * back(right, s, b)]

    return case, z, twin


@pytest.mark.parametrize("eps", [0.0, 0.5])
@pytest.mark.parametrize("name", list(BILINEAR))
def test_uniform(name: str, eps: float) -> None:
    case, z, twin = bilinear_twin(name, eps, 0.5)
    check(case, "uniform", z, twin, eps=eps)


@pytest.mark.parametrize("share", [0.25, 1.0])
@pytest.mark.parametrize("name", list(BILINEAR))
def test_share(name: str, share: float) -> None:
    case, z, twin = bilinear_twin(name, 0.1, share)
    found = flow(case, "share", (g := seeds_for(z)), ratio=share, eps=0.1)
    closes(found)
    for k in range(SEEDS):
        for mine, expected in zip(found.inputs, twin(z * g[k]), strict=True):
            if mine.dim() > 1:  # nothing is sent where the share is 0
                torch.testing.assert_close(mine[k], expected, rtol=1e-9, atol=1e-10)
            else:
                assert not expected.any()


@pytest.mark.parametrize("name", list(BILINEAR))
def test_gradient_input_on_bilinear_maps(name: str) -> None:
    case, f = BILINEAR[name]
    a, b = case.inputs
    z = f(a, b)
    left, right = columns(lambda v: f(v, b), a), columns(lambda v: f(a, v), b)
    found = check(
        case, "gradient_input", z, lambda r: [back(left, r / z, a), back(right, r / z, b)]
    )
    assert "rescale" in found.sinks


@pytest.mark.parametrize("rule", ["uniform", "share", "gradient_input"])
def test_a_constant_factor_takes_nothing(rule: str) -> None:
    x, c = n(2, 3, 4), n(4)
    found = check(Case("mul", (x,), constants={1: c}), rule, x * c, lambda r: [r])
    assert not found.sinks


@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.5])
@pytest.mark.parametrize("op", ["add", "sub"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 1, 4), (2, 3, 1)])
def test_epsilon_on_sums(op: str, shape: tuple[int, ...], eps: float) -> None:
    a, b = n(2, 3, 4), n(*shape)
    signed = b if op == "add" else -b
    z = a + signed
    summed = [i for i in range(3) if shape[i] == 1 and z.shape[i] != 1]

    def twin(r: Tensor) -> list[Tensor]:
        s = r / stab(z, eps)
        part = signed * s
        return [a * s, part.sum(summed, keepdim=True) if summed else part]

    check(Case(op, (a, b)), "epsilon", z, twin, eps=eps)


def test_a_position_keeps_its_share_or_splits() -> None:
    a, b, eps = n(2, 3, 4), n(2, 3, 4), 0.1
    z = a + b
    case = Case("add", (a, b), role="positional")
    kept = flow(case, "epsilon", g := seeds_for(z), eps=eps)
    closes(kept)
    lost = (b * (z * g / stab(z, eps))).sum((2, 3))
    torch.testing.assert_close(kept.sinks["position"], lost)
    assert kept.inputs[1].dim() == 1
    split = check(
        case, "epsilon", z,
        lambda r: [a * r / stab(z, eps), b * r / stab(z, eps)], eps=eps, position="split",
    )  # fmt: skip
    assert "position" not in split.sinks


@pytest.mark.parametrize("op", ["add", "sub"])
def test_gradient_input_on_sums(op: str) -> None:
    a, b = n(2, 3, 4), n(2, 3, 4)
    sign = 1 if op == "add" else -1
    z = a + sign * b
    check(Case(op, (a, b)), "gradient_input", z, lambda r: [a * r / z, sign * b * r / z])
