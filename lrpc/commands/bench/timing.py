"""Wall-clock times of calls that take turns, as medians with quartiles."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated measurements, in seconds."""

    median: float
    low: float
    high: float
    count: int

    def to_json(self) -> dict[str, float]:
        return {"median": self.median, "low": self.low, "high": self.high, "count": self.count}


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one measurement."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high, len(values))


@dataclass(frozen=True)
class Second:
    """A call that takes what `first` gives; `first` is not timed."""

    first: Callable[[], Any]
    then: Callable[[Any], Any]


Timed = Callable[[], Any] | Second
Clock = Callable[[], float]


def finish(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def seconds(call: Timed, device: str, clock: Clock = time.perf_counter) -> float:
    """Seconds of one call, its work on the GPU included; by the wall, if by no other `clock`."""
    if isinstance(call, Second):
        call = partial(call.then, call.first())
    finish(device)
    begin = clock()
    call()
    finish(device)
    return clock() - begin


def interleaved(
    calls: Mapping[str, Timed],
    repeats: int,
    device: str,
    warmups: int = 1,
    clock: Clock = time.perf_counter,
) -> dict[str, Spread]:
    """The spread of every call over `repeats` rounds, in which all of them take turns.

    Each round starts with another one, so that none always follows the same neighbour. `warmups`
    rounds before do not count.
    """
    names = list(calls)
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-warmups, repeats):
        first = turn % len(names) if names else 0
        for name in names[first:] + names[:first]:
            taken = seconds(calls[name], device, clock)
            if turn >= 0:
                found[name].append(taken)
    return {name: spread(values) for name, values in found.items()}
