"""Weights that rules derive are computed once for all targets, and only where they are the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lrpc.rules.derived import Derived, same
from lrpc.rules.maps import plus_positive

ONE, OTHER = torch.ones(2), torch.ones(2)


def scaled(by: float) -> Callable[[Tensor], Tensor]:
    return lambda w: w * by


def test_what_plainly_computes_the_same() -> None:
    assert same(plus_positive(0.25).of, plus_positive(0.25).of)
    assert same(partial(scaled(2.0), ONE), partial(scaled(2.0), ONE))
    assert same(partial(torch.abs, ONE), partial(torch.abs, ONE))


def test_what_may_compute_something_else() -> None:
    assert not same(plus_positive(0.25).of, plus_positive(0.5).of)
    assert not same(partial(scaled(2.0), ONE), partial(scaled(2.0), OTHER))
    assert not same(scaled(0.0), scaled(-0.0))
    assert not same(scaled(1), scaled(True))
    assert not same(partial(torch.abs, ONE), partial(torch.neg, ONE))
    assert not same(lambda w: w, lambda w: w)
    assert not same([1.0], [1.0])


def test_one_tensor_where_it_is_the_same() -> None:
    weights = Derived()
    first = weights.tensor("w@half", partial(scaled(0.5), ONE))
    assert weights.tensor("w@half", partial(scaled(0.5), ONE)) is first
    other = weights.tensor("w@half", partial(scaled(0.25), ONE))
    assert torch.equal(other, ONE / 4)
