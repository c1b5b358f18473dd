"""What tables and pictures show: live bytes by part, the worst step, layers along the way."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby, pairwise

from lrpc.backend.memory.log import Storage
from lrpc.backend.memory.plan import layer_name
from lrpc.backend.memory.run import Timeline

#: Part → what it is called, and its colour. What the state
#: holds for ledgers and other targets is apart.
LOOKS: dict[str, tuple[str, str]] = {
    "state": ("saved for it", "#2f6fdb"),
    "other": ("for ledger, other targets", "#a9c4f2"),
    "output": ("outputs", "#6a7fd0"),
    "value": ("forward values", "#38b2ac"),
    "recomputed": ("recomputed", "#8e5bd0"),
    "seed": ("seeds", "#c2456f"),
    "adjoint": ("relevance values", "#e8740c"),
    "result": ("relevance read", "#d6b100"),
    "workspace": ("workspace", "#8a94a3"),
}


def by_part(timeline: Timeline) -> dict[str, list[int]]:
    """Live bytes at each step for every part that the program has."""
    count = len(timeline.modules)
    change = {part: [0] * (count + 1) for part in LOOKS}
    for s in timeline.storages:
        change[s.part][s.start] += s.size
        change[s.part][s.end] -= s.size
    lines = {part: list(accumulate(steps))[:count] for part, steps in change.items()}
    return {part: line for part, line in lines.items() if any(line)}


def alive(timeline: Timeline, step: int) -> list[Storage]:
    """What is alive at a step, the largest first."""
    found = [s for s in timeline.storages if s.start <= step < s.end]
    return sorted(found, key=lambda s: (-s.size, s.start, s.name))


def columns(live: Sequence[int], count: int) -> list[int]:
    """`count` steps that stand for all: of equal segments the one with the most live bytes."""
    steps = len(live)
    edges = [steps * i // count for i in range(count + 1)]
    segments = [range(a, max(b, a + 1)) for a, b in pairwise(edges)]
    return [max(segment, key=lambda i: live[i]) for segment in segments]


def layers(modules: Sequence[str]) -> list[tuple[str, int, int]]:
    """Runs of steps in one layer: name, first step, one past the last. Steps without a module
    belong to the run that they stand in."""
    names, last = [], ""
    for module in modules:
        last = layer_name(module) if module else last
        names.append(last)
    found, start = [], 0
    for name, run in groupby(names):
        length = len(list(run))
        found.append((name, start, start + length))
        start += length
    return found
