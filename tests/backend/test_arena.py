"""Layouts of buffers: never overlapping, never below the bound, equal to brute force on small
cases."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpc.backend.memory.arena import (
    Layout,
    _bottom_up,
    _first_fit,
    _meetings,
    _orders,
    _Table,
    place,
)
from lrpc.backend.memory.liveness import Buffer, aligned, lower_bound, profile


@st.composite
def programs(draw: st.DrawFn, most: int) -> list[Buffer]:
    count = draw(st.integers(1, most))
    found = []
    for i in range(count):
        start = draw(st.integers(0, 12))
        end = draw(st.integers(start + 1, 14))
        found.append(Buffer(f"v{i}", draw(st.integers(1, 64)) * 512, start, end))
    return found


def check(buffers: list[Buffer], layout: Layout) -> None:
    assert layout.bound <= layout.peak
    assert layout.peak == max(o + b.size for o, b in zip(layout.offsets, buffers, strict=True))
    placed = list(zip(layout.offsets, buffers, strict=True))
    for i, (low, a) in enumerate(placed):
        for other, b in placed[:i]:
            apart = low + a.size <= other or other + b.size <= low
            assert apart or not a.meets(b), (a, b)


@settings(max_examples=150, deadline=None)
@given(programs(40))
def test_layouts_never_overlap(buffers: list[Buffer]) -> None:
    layout = place(buffers)
    check(buffers, layout)
    assert place(buffers) == layout


def optimum(buffers: list[Buffer]) -> int:
    """The least peak over all orders in which buffers are pushed down as far as they go."""
    best = sum(b.size for b in buffers)
    for order in permutations(buffers):
        offsets: dict[str, int] = {}
        for b in order:
            under = [offsets[a.name] + a.size for a in order if a.name in offsets and a.meets(b)]
            offsets[b.name] = max(under, default=0)
        best = min(best, max(offsets[b.name] + b.size for b in buffers))
    return best


@settings(max_examples=60, deadline=None)
@given(programs(6))
def test_small_layouts_are_the_best_there_are(buffers: list[Buffer]) -> None:
    """Any layout can be pushed down to one of those: the oracle is exact."""
    assert place(buffers).peak == optimum(buffers)


def table(buffers: list[Buffer]) -> _Table:
    meets = [[a is not b and a.meets(b) for b in buffers] for a in buffers]
    return _Table(np.array([b.size for b in buffers]), np.array(meets))


@settings(max_examples=60, deadline=None)
@given(programs(5))
def test_building_up_reaches_the_best_there_is(buffers: list[Buffer]) -> None:
    """Some order of urgency gives the best layout, and every one gives a layout."""
    peaks = []
    for order in permutations(range(len(buffers))):
        peak, offsets = _bottom_up(table(buffers), np.array(order, dtype=float))
        check(buffers, Layout(tuple(offsets.tolist()), peak, lower_bound(buffers)))
        peaks.append(peak)
    assert min(peaks) == optimum(buffers)


def crowd(count: int, seed: int) -> list[Buffer]:
    """Buffers of all lengths and sizes that leave a layout little room."""
    chance = np.random.default_rng(seed)
    starts = chance.integers(0, 100, count)
    ends = starts + 1 + chance.geometric(0.1, count)
    sizes = 512 * chance.integers(1, 200, count)
    return [
        Buffer(f"v{i}", int(size), int(a), int(b))
        for i, (size, a, b) in enumerate(zip(sizes, starts, ends, strict=True))
    ]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_larger_problems_get_nearer_to_the_bound(seed: int) -> None:
    buffers = crowd(120, seed)
    meets = _meetings(buffers)
    greedy = min(_first_fit(buffers, meets, order)[0] for order in _orders(buffers))
    short, long = place(buffers, 2_000), place(buffers, 20_000)
    check(buffers, long)
    assert long.peak <= short.peak <= greedy
    assert long.peak < greedy
    assert place(buffers, 20_000) == long


def test_what_lives_to_the_end_is_stacked() -> None:
    """State first, as a stack; the rest in the room that is left before and above it."""
    buffers = [Buffer(f"s{i}", 100, i, 10) for i in range(5)]
    buffers += [Buffer(f"t{i}", 30, i, i + 1) for i in range(10)]
    layout = place(buffers, 0)
    check(buffers, layout)
    assert layout.offsets[:5] == (0, 100, 200, 300, 400)
    assert layout.peak == layout.bound == 530


def test_the_search_finds_what_greedy_misses() -> None:
    """By size, the two large ones come first and leave a hole that nothing fits."""
    buffers = [
        Buffer("a", 4, 0, 2), Buffer("b", 3, 1, 4), Buffer("c", 4, 3, 5), Buffer("d", 3, 4, 6),
        Buffer("e", 4, 2, 3), Buffer("f", 2, 0, 1), Buffer("g", 2, 5, 6),
    ]  # fmt: skip
    layout = place(buffers)
    check(buffers, layout)
    assert layout.peak == optimum(buffers) == lower_bound(buffers)


def test_live_bytes() -> None:
    buffers = [Buffer("a", 5, 0, 2), Buffer("b", 7, 1, 3)]
    assert profile(buffers) == [5, 12, 7]
    assert lower_bound(buffers) == 12
    assert lower_bound([]) == 0


def test_sizes_are_aligned() -> None:
    assert [aligned(n) for n in (0, 1, 512, 513)] == [0, 512, 512, 1024]


@pytest.mark.parametrize(("size", "start", "end"), [(-1, 0, 1), (1, 2, 2), (1, 3, 2)])
def test_bad_buffers_are_refused(size: int, start: int, end: int) -> None:
    with pytest.raises(ValueError, match="buffer x"):
        Buffer("x", size, start, end)
