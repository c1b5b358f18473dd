"""Masks that are added to scores fill them instead; other sums stay."""

from __future__ import annotations

import math

import pytest
import torch

from passes import AdditiveMasks
from tests.support.graphs import check_text, check_values, module, rewritten

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


def test_a_choice_between_numbers_by_a_mask() -> None:
    check_text(
        AdditiveMasks(),
        CHOSEN,
        """
        graph @g(%s: f32[B,2,3,3], %m: bool[B,1,1,3]) {
          %a_1: bool[B,1,1,3] = logical_not(%m)
          %wide_1: bool[B,1,3,3] = expand(%a_1) {shape=[B,1,3,3]}
          %y: f32[B,2,3,3] = masked_fill(%s, %wide_1) {value=-3.4028234663852886e+38}
          return %y
        }
        """,
    )
    before = module(CHOSEN)
    check_values(before, rewritten(AdditiveMasks(), before))


def test_the_other_way_round_and_filled() -> None:
    turned = CHOSEN.replace("%seen, %hidden)", "%hidden, %seen)").replace(
        "add(%s, %wide)", "add(%wide, %s)"
    )
    filled = """
    graph @g(%s: f64[B,3], %m: bool[B,3]) {
      %zero: f64[B,3] = full() {shape=[B,3], value=0.0, dtype="f64"}
      %a: f64[B,3] = masked_fill(%zero, %m) {value=-inf}
      %y: f64[B,3] = add(%s, %a)
      return %y
    }
    """
    for text in (turned, filled):
        before = module(text)
        after = rewritten(AdditiveMasks(), before)
        assert after.graph.nodes[-1].op == "masked_fill"
        assert "logical_not" not in {n.op for n in after.graph.nodes}
        check_values(before, after)


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


def test_a_bias_under_a_mask_is_added_before_it_hides() -> None:
    """As in T5: the mask is added to a bias of positions first, and that to the scores."""
    text = """
    graph @g(%s: f64[B,2,3,3], %m: bool[B,1,1,3]) {
      weight "bias": f64[1,2,3,3]
      %b: f64[1,2,3,3] = constant() {weight="bias"}
      %seen: f64[] = full() {shape=[], value=0.0, dtype="f64"}
      %hidden: f64[] = full() {shape=[], value=-1.7976931348623157e+308, dtype="f64"}
      %a: f64[B,1,1,3] = where(%m, %seen, %hidden)
      %p: f64[B,2,3,3] = add(%b, %a)
      %y: f64[B,2,3,3] = add(%s, %p)
      return %y
    }
    """
    before = module(text)
    after = rewritten(AdditiveMasks(), before)
    assert [n.op for n in after.graph.nodes][-2:] == ["add", "masked_fill"]
    assert sum(n.op == "add" for n in after.graph.nodes) == 1
    check_values(before, after)


def test_numbers_chosen_beside_a_mask() -> None:
    text = """
    graph @g(%s: f64[B,3], %t: f64[B,1], %m: bool[B,3]) {
      %a: f64[B,3] = full() {shape=[B,3], value=-inf, dtype="f64"}
      %c: f64[B,3] = where(%m, %a, %t)
      %y: f64[B,3] = add(%c, %s)
      return %y
    }
    """
    before = module(text)
    after = rewritten(AdditiveMasks(), before)
    assert [n.op for n in after.graph.nodes] == ["expand", "add", "masked_fill"]
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


def test_scores_that_are_spread_by_the_mask() -> None:
    text = """
    graph @g(%s: f64[B,1,3], %m: bool[B,4,3]) {
      %h: f64[] = full() {shape=[], value=-inf, dtype="f64"}
      %y: f64[B,4,3] = where(%m, %h, %s)
      return %y
    }
    """
    before = module(text)
    after = rewritten(AdditiveMasks(), before)
    assert [n.op for n in after.graph.nodes] == ["expand", "masked_fill"]
    check_values(before, after)


@pytest.mark.parametrize("value", ["0.0", "inf", "-10000.0"])
def test_other_choices_stay(value: str) -> None:
    hidden = f'%h: f64[1] = full() {{shape=[1], value={value}, dtype="f64"}}'
    before = module(INSTEAD.format(hidden=hidden, chosen="%s, %h"))
    assert "where" in {n.op for n in rewritten(AdditiveMasks(), before).graph.nodes}
