"""Where each buffer lies in one arena: greedy by size, other orders, then a bounded search.

Placing buffers with fixed lifetimes in the least memory is strongly NP-hard (dynamic storage
allocation, Garey and Johnson 1979, SR2). Greedy by decreasing size is within a few per cent on the
programs of neural networks (Pisarchyk and Lee 2020, arXiv 2001.03288); where it does not reach the
lower bound, buffers that stick out are moved forward in the order and placed again (squeaky wheel
optimisation, Joslin and Clements 1999). Larger problems are built from the bottom up in that
search: next comes, of the buffers that lie lower than any other could end, the most urgent. Every
layout that is pushed down as far as it goes arises so from some order.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrpc.backend.memory.liveness import Buffer, lower_bound, profile

FEW = 64  # buffers, up to which filling gaps in a list is the faster way
TAKEN = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Layout:
    """An offset for every buffer, in their order; `peak` is the arena's size."""

    offsets: tuple[int, ...]
    peak: int
    bound: int

    @property
    def ratio(self) -> float:
        """peak ÷ lower bound; 1.0 is the best there can be."""
        return self.peak / self.bound if self.bound else 1.0


def place(buffers: Sequence[Buffer], work: int = 250_000) -> Layout:
    """The best layout found: buffers alive together never overlap. Same input, same layout.

    `work` bounds the search after the fixed orders, in buffers placed (a tenth of a second for
    10,000); it ends at once where the lower bound is met. With 0 there is one order alone, which
    suits programs that keep much to their end, and is fast.
    """
    bound = lower_bound(buffers)
    best = _stacked(buffers)
    if best[0] == bound or not work:
        return Layout(tuple(best[1]), best[0], bound)
    meets = _meetings(buffers)
    for order in _orders(buffers):
        found = _first_fit(buffers, meets, order)
        best = found if found[0] < best[0] else best
        if best[0] == bound:
            return Layout(tuple(best[1]), best[0], bound)
    if len(buffers) <= FEW:
        best = _search(buffers, meets, bound, best, min(400, work // len(buffers)))
    else:
        best = _build_up(buffers, bound, best, work // len(buffers))
    return Layout(tuple(best[1]), best[0], bound)


def _stacked(buffers: Sequence[Buffer]) -> tuple[int, list[int]]:
    """Peak and offsets when buffers that live to the end are stacked as they come, and the others,
    by length of life, take the lowest gap above those of the stack that they meet."""
    end = max((b.end for b in buffers), default=0)
    offsets = [0] * len(buffers)
    floor = [0] * end  # the height of the stack at each step
    height, begun = 0, 0
    for i in sorted(range(len(buffers)), key=lambda i: (buffers[i].start, i)):
        if buffers[i].end == end:
            floor[begun : buffers[i].start] = [height] * (buffers[i].start - begun)
            begun = buffers[i].start
            offsets[i] = height
            height += buffers[i].size
    floor[begun:] = [height] * (end - begun)
    rest = [i for i, b in enumerate(buffers) if b.end < end]
    others = [buffers[i] for i in rest]
    floors = [floor[b.end - 1] for b in others]
    order = sorted(
        range(len(rest)), key=lambda i: (others[i].start - others[i].end, -others[i].size)
    )
    peak, placed = _first_fit(others, _meetings(others), order, floors)
    for i, offset in zip(rest, placed, strict=True):
        offsets[i] = offset
    return max(peak, height), offsets


def _orders(buffers: Sequence[Buffer]) -> list[list[int]]:
    def by(key: object) -> list[int]:
        return sorted(range(len(buffers)), key=key)  # type: ignore[call-overload,no-any-return]

    return [
        by(lambda i: (-buffers[i].size, buffers[i].start - buffers[i].end, i)),
        by(lambda i: (buffers[i].start - buffers[i].end, -buffers[i].size, i)),
        by(lambda i: (buffers[i].size * (buffers[i].start - buffers[i].end), i)),
        by(lambda i: (buffers[i].start, -buffers[i].size, i)),
    ]


def _meetings(buffers: Sequence[Buffer]) -> list[list[int]]:
    """For each buffer the others that are alive together with it."""
    order = sorted(range(len(buffers)), key=lambda i: buffers[i].start)
    meets: list[list[int]] = [[] for _ in buffers]
    alive: list[int] = []
    for i in order:
        alive = [j for j in alive if buffers[j].end > buffers[i].start]
        for j in alive:
            meets[i].append(j)
            meets[j].append(i)
        alive.append(i)
    return meets


def _first_fit(
    buffers: Sequence[Buffer],
    meets: Sequence[Sequence[int]],
    order: Sequence[int],
    floors: Sequence[int] | None = None,
) -> tuple[int, list[int]]:
    """Peak and offsets when each buffer in turn takes the lowest gap that it fits in, above its
    floor where it has one."""
    offsets = [-1] * len(buffers)
    peak = 0
    for i in order:
        size, offset = buffers[i].size, floors[i] if floors else 0
        taken = sorted((offsets[j], buffers[j].size) for j in meets[i] if offsets[j] >= 0)
        for low, extent in taken:
            if low - offset >= size:
                break
            offset = max(offset, low + extent)
        offsets[i] = offset
        peak = max(peak, offset + size)
    return peak, offsets


def _search(
    buffers: Sequence[Buffer],
    meets: Sequence[Sequence[int]],
    bound: int,
    best: tuple[int, list[int]],
    rounds: int,
) -> tuple[int, list[int]]:
    """Squeaky wheel: what stuck out above the bound is placed earlier the next time."""
    chance = random.Random(0)
    blame = [float(b.size) for b in buffers]
    step = max(blame) / 4
    for _ in range(rounds):
        order = sorted(range(len(buffers)), key=lambda i: (-blame[i], i))
        found = _first_fit(buffers, meets, order)
        if found[0] < best[0]:
            best = found
        if best[0] == bound:
            break
        for i, b in enumerate(buffers):
            if found[1][i] + b.size > bound:
                blame[i] += step * (0.5 + chance.random())
    return best


@dataclass(frozen=True)
class _Table:
    """Sizes of the buffers, and for each which others are alive together with it."""

    sizes: NDArray[np.int64]
    meets: NDArray[np.bool_]


def _build_up(
    buffers: Sequence[Buffer], bound: int, best: tuple[int, list[int]], rounds: int
) -> tuple[int, list[int]]:
    """Squeaky wheel from the bottom up: what sticks out becomes more urgent, by how far it does."""
    starts, ends = (np.array([getattr(b, key) for b in buffers]) for key in ("start", "end"))
    meets = (starts[:, None] < ends[None]) & (starts[None] < ends[:, None])
    np.fill_diagonal(meets, False)
    table = _Table(np.array([b.size for b in buffers], dtype=np.int64), meets)
    chance, count = np.random.default_rng(0), len(buffers)
    orders = _urgencies(buffers)
    tried = [(*_bottom_up(table, urgent), urgent) for urgent in orders[:rounds]]
    if not tried:
        return best
    peak, offsets, urgent = min(tried, key=lambda one: one[0])
    for _ in range(rounds - len(tried)):
        if peak < best[0]:
            best = (peak, offsets.tolist())
        if best[0] == bound:
            break
        over = np.maximum(offsets + table.sizes - bound, 0) / max(peak - bound, 1)
        shift = over * (0.5 + chance.random(count)) / 8 + chance.normal(0, 0.01, count)
        urgent = urgent + shift * count
        peak, offsets = _bottom_up(table, urgent)
    return (peak, offsets.tolist()) if peak < best[0] else best


def _bottom_up(table: _Table, urgent: NDArray[np.float64]) -> tuple[int, NDArray[np.int64]]:
    """Peak and offsets when buffers are laid on those below them, the most urgent first among
    those that start lower than any buffer could end."""
    floors = np.zeros(len(urgent), dtype=np.int64)
    tops, waiting = table.sizes.copy(), urgent.copy()
    offsets = np.zeros_like(floors)
    peak = 0
    for _ in range(len(urgent)):
        i = int(np.where(floors < tops.min(), waiting, -np.inf).argmax())
        top, meets = int(tops[i]), table.meets[i]
        offsets[i], peak = floors[i], max(peak, top)
        np.maximum(floors, top, out=floors, where=meets)
        np.add(floors, table.sizes, out=tops, where=meets & (floors < TAKEN))
        floors[i] = tops[i] = TAKEN
        waiting[i] = -np.inf
    return peak, offsets


def _urgencies(buffers: Sequence[Buffer]) -> list[NDArray[np.float64]]:
    """Orders to begin with, as numbers that fall: combinations of the most live bytes that a buffer
    meets, its length, size and area (the orders of MiniMalloc, Moffitt 2023, among them)."""
    live = np.array(profile(buffers))
    most = np.array([live[b.start : b.end].max() for b in buffers])
    length = np.array([b.end - b.start for b in buffers])
    size = np.array([b.size for b in buffers])
    area = length * size
    keys = [
        (length, area, most), (most, area, length), (most, length, area), (size, length),
        (area, size),
    ]  # fmt: skip
    found = []
    for key in keys:
        rank = np.empty(len(buffers))
        rank[np.lexsort([-k for k in reversed(key)])] = np.arange(len(buffers))
        found.append(-rank)
    return found
