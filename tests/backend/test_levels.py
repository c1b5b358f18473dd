"""What a block may keep, against all choices there are."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from lrpc.backend.memory.levels import Block, Kept, Step, hull


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    """Up to seven steps, each of which makes one or two values of some before it and of inputs,
    whose keeping costs something for half of all values."""
    values = ["", "#0"]
    steps = []
    for i in range(draw(st.integers(1, 7))):
        reads = draw(st.lists(st.sampled_from(values), max_size=3, unique=True))
        makes = [f"v{i}", f"u{i}"][: draw(st.integers(1, 2))]
        steps.append(Step(draw(st.integers(0, 9)), tuple(reads), tuple(makes)))
        values += makes
    size = {name: draw(st.integers(0, 9)) for name in values if draw(st.booleans())}
    needed = draw(st.lists(st.sampled_from(values), unique=True))
    return Block(tuple(steps), size, frozenset(needed))


def every(block: Block) -> list[Kept]:
    """Whatever steps run again: what they and the readers lack has to be kept."""
    numbers = range(len(block.steps))
    found = []
    for run in (frozenset(c) for n in range(len(numbers) + 1) for c in combinations(numbers, n)):
        made = {value for i in run for value in block.steps[i].makes}
        values = (block.needed | {v for i in run for v in block.steps[i].reads}) - made
        size = sum(block.size.get(value, 0) for value in values)
        found.append(Kept(frozenset(values), run, sum(block.steps[i].work for i in run), size))
    return found


def cost(kept: Kept, price: Fraction) -> Fraction:
    return kept.work + price * kept.size


@settings(max_examples=100, deadline=None)
@given(blocks())
def test_the_best_at_every_price(block: Block) -> None:
    choices, found = every(block), hull(block)
    assert all(kept in choices for kept in found)
    corners = {
        Fraction(b.work - a.work, a.size - b.size)
        for a in choices
        for b in choices
        if a.size > b.size and b.work > a.work
    }
    for price in corners | {price + Fraction(1, 100) for price in corners}:
        least = min(cost(kept, price) for kept in choices)
        assert min(cost(kept, price) for kept in found) == least


@settings(max_examples=100, deadline=None)
@given(blocks())
def test_each_step_down_costs_more(block: Block) -> None:
    found = hull(block)
    assert not found[0].work
    assert found[0].values == block.needed
    assert found[-1].size == min(kept.size for kept in every(block))
    slopes = [Fraction(b.work - a.work, a.size - b.size) for a, b in pairwise(found)]
    assert slopes == sorted(set(slopes))
    made = {value for step in block.steps for value in step.makes}
    own = {v: n for v, n in block.size.items() if v in made}
    least = min(every(Block(block.steps, own, block.needed)), key=lambda kept: kept.size).size
    assert sum(own.get(v, 0) for v in block.least().values) == least


def test_the_wide_value_is_made_again_from_the_narrow_ones() -> None:
    """The feed-forward part of a transformer: norm → up → relu → down → sum."""
    steps = (
        Step(1, ("x",), ("norm",)),
        Step(100, ("norm",), ("up",)),
        Step(8, ("up",), ("relu",)),
        Step(100, ("relu",), ("down",)),
    )
    size = {"norm": 4, "up": 16, "relu": 16, "down": 4}
    block = Block(steps, size, frozenset({"relu", "down"}))
    all_kept, middle, nothing = hull(block)
    assert all_kept.values == {"relu", "down"}
    assert (middle.values, middle.steps, middle.work) == ({"x", "down"}, {0, 1, 2}, 109)
    assert (nothing.values, nothing.work, nothing.size) == ({"x"}, 209, 0)
