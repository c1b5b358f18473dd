"""The least cut that chooses what to keep, against all choices there are."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from passes.min_cut import cheapest

Problem = tuple[dict[str, int], dict[str, list[str]], list[str]]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to eight values, each made of some before it or not at all again."""
    names = ["", "#0", *(f"v{i}" for i in range(6))][: draw(st.integers(1, 8))]
    cost = {name: draw(st.integers(0, 9)) for name in names}
    inputs = {
        name: draw(st.lists(st.sampled_from(names[:i]), max_size=3, unique=True)) if i else []
        for i, name in enumerate(names)
        if draw(st.booleans())
    }
    return cost, inputs, draw(st.lists(st.sampled_from(names), unique=True))


def enough(kept: frozenset[str], inputs: dict[str, list[str]], needed: list[str]) -> bool:
    def had(name: str) -> bool:
        return name in kept or (name in inputs and all(map(had, inputs[name])))

    return all(map(had, needed))


@settings(max_examples=400, deadline=None)
@given(problems())
def test_no_choice_is_cheaper(problem: Problem) -> None:
    cost, inputs, needed = problem
    found = cheapest(cost, inputs, needed)
    assert enough(found, inputs, needed)
    every = (frozenset(c) for n in range(len(cost) + 1) for c in combinations(cost, n))
    least = min(sum(cost[v] for v in kept) for kept in every if enough(kept, inputs, needed))
    assert sum(cost[v] for v in found) == least


def test_a_mask_is_cheaper_than_what_it_is_made_of() -> None:
    cost = {"x": 4, "y": 4, "mask": 1, "wide": 4}
    inputs = {"mask": ["x"], "wide": ["x", "y"]}
    assert cheapest(cost, inputs, ["mask"]) == {"mask"}
    assert cheapest(cost, inputs, ["mask", "x"]) == {"x"}
    assert cheapest(cost, inputs, ["wide"]) == {"wide"}
    assert cheapest(cost, inputs, ["wide", "x"]) == {"x", "y"}  # of equals, what is made first
    assert cheapest(cost, inputs, ["wide", "x", "y"]) == {"x", "y"}
