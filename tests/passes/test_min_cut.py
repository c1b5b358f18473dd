"""The least cut that chooses what to keep, against all choices there are."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from passes.min_cut import cheapest

Problem = tuple[dict[str, int], dict[str, list[str]], list[str], dict[str, int]]


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
    work = {name: draw(st.integers(0, 6)) for name in names if draw(st.booleans())}
    return cost, inputs, draw(st.lists(st.sampled_from(names), unique=True)), work


def made(kept: frozenset[str], inputs: dict[str, list[str]], needed: list[str]) -> set[str] | None:
    """What has to be made of what is kept; None where something needed cannot be had."""
    ahead, found = list(needed), set[str]()
    while ahead:
        name = ahead.pop()
        if name in kept or name in found:
            continue
        if name not in inputs:
            return None
        found.add(name)
        ahead += inputs[name]
    return found


@settings(max_examples=400, deadline=None)
@given(problems())
def test_no_choice_is_cheaper(problem: Problem) -> None:
    cost, inputs, needed, work = problem

    def total(kept: frozenset[str]) -> float:
        run = made(kept, inputs, needed)
        if run is None:
            return float("inf")
        return sum(cost[v] for v in kept) + sum(work.get(v, 0) for v in run)

    every = (frozenset(c) for n in range(len(cost) + 1) for c in combinations(cost, n))
    assert total(cheapest(cost, inputs, needed, work)) == min(map(total, every))


def test_a_mask_is_cheaper_than_what_it_is_made_of() -> None:
    cost = {"x": 4, "y": 4, "mask": 1, "wide": 4}
    inputs = {"mask": ["x"], "wide": ["x", "y"]}

    def kept(*needed: str) -> set[str]:
        return set(cheapest(cost, inputs, needed, {}))

    assert kept("mask") == {"mask"}
    assert kept("mask", "x") == {"x"}
    assert kept("wide") == {"wide"}
    assert kept("wide", "x") == {"x", "y"}  # of equals, what is made first
    assert kept("wide", "x", "y") == {"x", "y"}


def test_what_takes_more_work_than_it_spares_is_kept() -> None:
    cost, inputs = {"x": 4, "y": 4, "scores": 9}, {"scores": ["x", "y"]}
    everything = ["x", "y", "scores"]
    assert cheapest(cost, inputs, everything, {"scores": 8}) == {"x", "y"}
    assert cheapest(cost, inputs, everything, {"scores": 10}) == set(everything)
    assert cheapest(cost, inputs, ["scores"], {}) == {"x", "y"}
    assert cheapest(cost, inputs, ["scores"], {"scores": 2}) == {"scores"}
