"""Rules of deformable sampling that follow locations or splat, against slow float64 twins."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.rules.test_structure import LEVELS, sampled
from tests.support.one_node import Case, flow
from tests.support.twins import SEEDS, back, check, closes, jacobian, n, seeds_for, stab


def sampling(seed: int, sums_to_one: bool = True) -> Case:
    torch.manual_seed(seed)
    value, scores = n(2, 14, 2, 2), n(2, 3, 2, 4)
    shares = scores.softmax(-1) if sums_to_one else scores
    loc = torch.rand(2, 3, 2, 2, 2, 2, dtype=torch.float64) * 1.6 - 0.3
    inputs = (value, loc, shares.reshape(2, 3, 2, 2, 2))
    return Case("deform_sample", inputs, {"levels": LEVELS})


def splatted(loc: Tensor, weight: Tensor, r: Tensor) -> Tensor:
    """(1/H) Σ R_out · A · bilinear, one sampled place after the other; [B, S, C]."""
    batch, queries, heads, _, points, _ = loc.shape
    found = torch.zeros(batch, sum(h * w for h, w in LEVELS), r.shape[-1], dtype=r.dtype)
    for b in range(batch):
        for q in range(queries):
            for h in range(heads):
                start = 0
                for level, (height, width) in enumerate(LEVELS):
                    for p in range(points):
                        x = float(loc[b, q, h, level, p, 0]) * width - 0.5
                        y = float(loc[b, q, h, level, p, 1]) * height - 0.5
                        left, top = math.floor(x), math.floor(y)
                        for row in (top, top + 1):
                            for column in (left, left + 1):
                                near = (1 - abs(x - column)) * (1 - abs(y - row))
                                inside = min(max(row, 0), height - 1) * width
                                inside += min(max(column, 0), width - 1)
                                share = float(weight[b, q, h, level, p]) * near / heads
                                found[b, start + inside] += share * r[b, q]
                    start += height * width
    return found


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 99), st.booleans())
def test_splat(seed: int, sums_to_one: bool) -> None:
    case = sampling(seed, sums_to_one)
    value, loc, weight = case.inputs
    z = sampled(value, loc, weight)
    for itself in (True, False):
        found = flow(case, "splat", g := seeds_for(z), itself)
        closes(found)
        for k in range(SEEDS):
            expected = splatted(loc, weight, z * g[k]).reshape(value.shape)
            torch.testing.assert_close(found.inputs[0][k], expected, rtol=1e-9, atol=1e-11)
        lost = float(found.sinks["rescale"].abs().max() / found.booked["out"].abs().max())
        assert (lost < 1e-12) == sums_to_one
        assert found.inputs[1].dim() == found.inputs[2].dim() == 1  # A and loc are constants


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 99), st.sampled_from([0.0, 0.5]))
def test_splat_value(seed: int, eps: float) -> None:
    case = sampling(seed)
    value, loc, weight = case.inputs
    size = value.abs().flatten(2).mean(-1)  # [B, S]

    def twin(r: Tensor) -> list[Tensor]:
        u = splatted(loc, weight, r) * size[..., None]
        scale = r.sum((1, 2)) / stab(u.sum((1, 2)), eps)
        shared = (u * scale[:, None, None]).reshape(value.shape)
        return [shared, torch.zeros_like(loc), torch.zeros_like(weight)]

    found = check(case, "splat_value", sampled(value, loc, weight), twin, eps=eps)
    assert found.sinks.keys() == {"epsilon"}


@pytest.mark.parametrize("rule", ["splat", "splat_value"])
def test_splatting_keeps_what_lies_far_outside(rule: str) -> None:
    case = sampling(0)
    value, loc, weight = case.inputs
    far = Case(case.op, (value, loc * 3 - 1, weight), case.attrs)
    z = sampled(*far.inputs)
    found = (
        flow(far, rule, seeds_for(z), eps=0.0)
        if rule == "splat_value"
        else flow(far, rule, seeds_for(z))
    )
    closes(found)
    torch.testing.assert_close(found.booked["in"], found.booked["out"])


@pytest.mark.parametrize(("share", "eps"), [(0.25, 0.3), (1.0, 0.0), (0.0, 0.1)])
def test_locations(share: float, eps: float) -> None:
    case = sampling(1)
    value, loc, weight = case.inputs
    z = sampled(value, loc, weight)
    to_value = jacobian(lambda v: sampled(v, loc, weight), value)
    to_loc = jacobian(lambda p: sampled(value, p, weight), loc)

    def twin(r: Tensor) -> list[Tensor]:
        s = r / stab(z, eps)
        parts = [(1 - share) * back(to_value, s, value), share * back(to_loc, s, loc)]
        return [*parts, torch.zeros_like(weight)]

    found = check(case, "locations", z, twin, share=share, eps=eps)
    assert ("rescale" in found.sinks) == (share > 0)
