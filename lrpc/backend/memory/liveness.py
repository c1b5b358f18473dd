"""Buffers with lifetimes on a straight-line program, and what no layout can go below."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Buffer:
    """`size` bytes, alive from step `start` up to, not including, step `end`."""

    name: str
    size: int
    start: int
    end: int

    def __post_init__(self) -> None:
        if self.size < 0 or self.end <= self.start:
            raise ValueError(
                f"buffer {self.name}: size {self.size}, steps {self.start}..{self.end}"
            )

    def meets(self, other: Buffer) -> bool:
        """Whether both are alive at some step."""
        return self.start < other.end and other.start < self.end


def aligned(size: int, to: int = 512) -> int:
    """`size` rounded up to a multiple of `to`."""
    return -(-size // to) * to


def profile(buffers: Iterable[Buffer]) -> list[int]:
    """Live bytes at each step, from step 0 to the last one that any buffer lives in."""
    buffers = list(buffers)
    change = [0] * (max((b.end for b in buffers), default=0) + 1)
    for b in buffers:
        change[b.start] += b.size
        change[b.end] -= b.size
    return list(accumulate(change))[:-1]


def lower_bound(buffers: Iterable[Buffer]) -> int:
    """The most live bytes at any step: no layout needs less."""
    return max(profile(buffers), default=0)
