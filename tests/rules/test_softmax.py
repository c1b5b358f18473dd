"""Rules of softmax against slow float64 twins: row by row, Jacobians by autograd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.one_node import Case, flow
from tests.support.twins import SEEDS, check, closes, jacobian, n, seeds_for, stab

RowRule = Callable[[Tensor, Tensor, Tensor], Tensor]
SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 5))


def by_rows(x: Tensor, r: Tensor, dim: int, rule: RowRule) -> Tensor:
    """`rule(x, s, R)` on every vector along `dim`."""
    found = torch.zeros_like(x)
    rows, arriving, out = (t.movedim(dim, -1) for t in (x, r, found))
    for index in torch.cartesian_prod(*(torch.arange(k) for k in rows.shape[:-1])):
        place = tuple(index.tolist())
        out[place] = rule(rows[place], rows[place].softmax(0), arriving[place])
    return found


def taylor(x: Tensor, s: Tensor, r: Tensor) -> Tensor:
    return x * (r - s * r.sum())


def gradient(x: Tensor, s: Tensor, r: Tensor) -> Tensor:
    return s * (r - sum(float(a) * float(b) for a, b in zip(s, r, strict=True)))


def by_jacobian(x: Tensor, s: Tensor, r: Tensor) -> Tensor:
    return x * (jacobian(lambda v: v.softmax(0), x).T @ r)


def stabilised(eps: float) -> RowRule:
    return lambda x, s, r: by_jacobian(x, s, r / stab(s, eps))


RULES: dict[str, RowRule] = {
    "taylor": taylor,
    "gradient_input": taylor,
    "gradient": gradient,
    "jacobian": by_jacobian,
}


@settings(max_examples=8, deadline=None)
@given(SHAPES, st.sampled_from([-1, -2]), st.sampled_from(sorted(RULES)), st.integers(0, 99))
def test_softmax(shape: tuple[int, ...], dim: int, rule: str, seed: int) -> None:
    torch.manual_seed(seed)
    x = 2 * n(*shape)
    found = check(
        Case("softmax", (x,), {"dim": dim}), rule, x.softmax(dim),
        lambda r: [by_rows(x, r, dim, RULES[rule])],
    )  # fmt: skip
    assert list(found.sinks) == ["softmax"]


@settings(max_examples=8, deadline=None)
@given(SHAPES, st.sampled_from([-1, -2]), st.sampled_from([0.0, 1e-6, 0.5]), st.integers(0, 99))
def test_epsilon_on_softmax(shape: tuple[int, ...], dim: int, eps: float, seed: int) -> None:
    torch.manual_seed(seed)
    x = 2 * n(*shape)
    check(
        Case("softmax", (x,), {"dim": dim}), "epsilon", x.softmax(dim),
        lambda r: [by_rows(x, r, dim, stabilised(eps))], eps=eps,
    )  # fmt: skip


def test_the_gradient_of_relevance_sums_to_nothing() -> None:
    x = n(2, 3, 4)
    found = flow(Case("softmax", (x,), {"dim": -1}), "gradient", seeds_for(x))
    assert float(found.inputs[0].sum(-1).abs().max()) < 1e-14


@pytest.mark.parametrize("itself", [False, True])
@pytest.mark.parametrize("rule", [*RULES, "epsilon"])
def test_masked_scores_receive_exactly_nothing(rule: str, itself: bool) -> None:
    x = n(2, 3, 4)
    x[0, 1, 2] = x[1, :, 0] = x[1, 2, 1:3] = float("-inf")
    found = flow(Case("softmax", (x,), {"dim": -1}), rule, seeds_for(x), itself)
    closes_without_reading(found.booked)
    sent = found.given["x0"]
    assert torch.isfinite(sent).all()
    assert not sent[:, x == float("-inf")].any()
    assert sent.any()


def closes_without_reading(booked: dict[str, Tensor]) -> None:
    rest = booked["out"] - sum(v for k, v in booked.items() if k not in ("start", "out", "end"))
    assert float(rest.abs().max()) < 1e-12


def test_softmax_detached() -> None:
    x = n(2, 3, 4)
    found = flow(Case("softmax", (x,), {"dim": -1}), "detach", g := seeds_for(x))
    torch.testing.assert_close(found.sinks["detached"], (g * x.softmax(-1)).sum((2, 3)))
    assert found.inputs[0].dim() == 1
    assert g.shape[0] == SEEDS
    closes(found)
