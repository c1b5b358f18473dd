"""Order within the layers of a drawing, and positions that keep that order."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from itertools import pairwise

Key = tuple[int, ...]  # (box,), or (source, target, layer) for the way station of a long edge
Links = dict[Key, tuple[list[Key], list[Key]]]  # neighbours above and below

GAP, LANE = 26.0, 14.0  # between boxes, between passing edges
SWEEPS = 12
FIRM = {
    1: 1.0,
    0: 5.0,
    2: 9.0,
}  # how firmly links with so many way stations (or none) keep straight


def order(rows: list[list[Key]], links: Links) -> None:
    """Sort each row by its neighbours' mean places, down and up; keep what crosses least."""
    best, fewest = [list(row) for row in rows], _crossings(rows, links)
    place = {key: i / max(len(row), 1) for row in rows for i, key in enumerate(row)}
    for sweep in range(SWEEPS):
        side = sweep % 2
        for row in rows if side == 0 else reversed(rows):
            wanted = {key: _mean([place[k] for k in links[key][side]], place[key]) for key in row}
            row.sort(key=wanted.__getitem__)
            place.update((key, (i + 0.5) / len(row)) for i, key in enumerate(row))
        crossings = _crossings(rows, links)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
        if fewest == 0:
            break
    rows[:] = best


def positions(
    rows: Sequence[Sequence[Key]], links: Links, widths: Mapping[Key, float]
) -> dict[Key, float]:
    """The x of each key's centre: near its neighbours', in order and apart."""
    offsets: dict[Key, float] = {}
    for row in rows:
        for i, key in enumerate(row):
            before = row[i - 1] if i else None
            offsets[key] = 0.0 if before is None else offsets[before] + _apart(before, key, widths)
    xs = {key: offsets[key] - offsets[row[-1]] / 2 for row in rows for key in row}
    for sweep in range(SWEEPS + 1):  # the last one goes down, so that chains hang straight
        side = sweep % 2
        for row in rows if side == 0 else reversed(rows):
            pulls = []
            for key in row:
                near = [(xs[k], FIRM[(len(k) + len(key) - 2) // 2]) for k in links[key][side]]
                aim, weight = _median(near or [(xs[key], 0.1)])
                pulls.append((aim - offsets[key], weight))
            for key, x in zip(row, _isotonic(pulls), strict=True):
                xs[key] = x + offsets[key]
    return xs


def _apart(a: Key, b: Key, widths: Mapping[Key, float]) -> float:
    gap = LANE if len(a) == 3 and len(b) == 3 else GAP
    return widths[a] / 2 + gap + widths[b] / 2


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _isotonic(pulls: Sequence[tuple[float, float]]) -> list[float]:
    """The non-decreasing sequence nearest to the (aim, weight) pairs (pool adjacent violators).

    Distances count as they are, not squared: what pulls most goes straight, and the rest gives way.
    """
    pools: list[tuple[float, list[tuple[float, float]]]] = []
    for pull in pulls:
        middle, members = pull[0], [pull]
        while pools and pools[-1][0] >= middle:
            members = pools.pop()[1] + members
            middle = _median(members)[0]
        pools.append((middle, members))
    return [middle for middle, members in pools for _ in members]


def _median(pulls: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The weighted median (between two where they are even), and the sum of the weights."""
    total, below = sum(weight for _, weight in pulls), 0.0
    ranked = sorted(pulls)
    for i, (aim, weight) in enumerate(ranked):
        below += weight
        if abs(below - total / 2) < 1e-9 and i + 1 < len(ranked):
            return (aim + ranked[i + 1][0]) / 2, total
        if below > total / 2:
            return aim, total
    return ranked[-1][0], total


def _crossings(rows: Sequence[Sequence[Key]], links: Links) -> int:
    """How many pairs of edges cross between neighbouring rows."""
    total = 0
    for upper, lower in pairwise(rows):
        place = {key: i for i, key in enumerate(lower)}
        seen: list[int] = []
        for key in upper:
            ends = sorted(place[k] for k in links[key][1])
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total
