"""Masks that are added to scores fill them instead; other sums stay."""

from __future__ import annotations

import math

import pytest
import torch

from passes import AdditiveMasks
from tests.support.graphs import check_values, module, rewritten

CHOSEN = """
graph @g(%s: f32[B,2,3,3], %m: bool[B,1,1,3]) {
  %seen: f32[] = full() {shape=[], value=0.0, dtype="f32"}
  %hidden: f32[] = full() {shape=[], value=-3.4028234663852886e+38, dtype="f32"}
  %a: f32[B,1,1,3] = where(%m, %seen, %hidden)
  %wide: f32[B,1,3,3] = expand(%a) {shape=[B,1,3,3]}
  %y: f32[B,2,3,3] = add(%s, %wide)
  return %y
}
"""


CONSTANT = """
graph @g(%s: f64[B,2,3,3]) {
  weight "mask": f64[3,3]
  %m: f64[3,3] = constant() {weight="mask"}
  %y: f64[B,2,3,3] = add(%s, %m)
  return %y
}
"""


def test_a_constant_mask() -> None:
    before = module(CONSTANT, mask=torch.full((3, 3), -math.inf).double().triu(1))
    after = rewritten(AdditiveMasks(), before)
    assert [n.op for n in after.graph.nodes] == ["constant", "masked_fill"]
    assert after.graph.nodes[-1].attr("value") == -math.inf
    check_values(before, after)


def test_numbers_beside_a_mask_are_still_added() -> None:
    torch.manual_seed(0)
    mask = torch.randn(3, 3).double().masked_fill(torch.ones(3, 3).triu(1).bool(), -math.inf)
    before = module(CONSTANT, mask=mask)
    after = rewritten(AdditiveMasks(), before)
    assert sorted(n.op for n in after.graph.nodes) == ["add", "constant", "constant", "masked_fill"]
    assert all(bool(t.isfinite().all()) for t in after.tensors.values())
    check_values(before, after)


def test_near_misses_stay_as_they_are() -> None:
    plain = torch.randn(3, 3).double()
    texts = [
        module(CONSTANT, mask=plain),
        module(CONSTANT, mask=plain.masked_fill(plain > 0, -1e4)),  # a number among numbers
        module(CHOSEN.replace("value=-3.4028234663852886e+38", "value=-10000.0")),
        module(CHOSEN.replace("add(%s, %wide)", "sub(%s, %wide)")),
        module(CHOSEN.replace("value=-3.4028234663852886e+38", "value=3.4028234663852886e+38")),
    ]
    for before in texts:
        assert rewritten(AdditiveMasks(), before).graph.nodes == before.graph.nodes


INSTEAD = """
graph @g(%s: f64[B,2,3,3], %m: bool[B,1,1,3]) {{
  weight "inf": f64[1]
  {hidden}
  %y: f64[B,2,3,3] = where(%m, {chosen})
  return %y
}}
"""
FULL = '%h: f64[1] = full() {shape=[1], value=-inf, dtype="f64"}'
WEIGHT = '%h: f64[1] = constant() {weight="inf"}'


@pytest.mark.parametrize("hidden", [FULL, WEIGHT])
def test_minus_infinity_chosen_in_place_of_scores(hidden: str) -> None:
    infinite = torch.full((1,), -math.inf).double()
    for chosen, ops in (("%h, %s", ["masked_fill"]), ("%s, %h", ["logical_not", "masked_fill"])):
        before = module(INSTEAD.format(hidden=hidden, chosen=chosen), inf=infinite)
        after = rewritten(AdditiveMasks(), before)
        assert [n.op for n in after.graph.nodes] == ops
        assert after.graph.nodes[-1].attr("value") == -math.inf
        assert not after.tensors
        check_values(before, after)
