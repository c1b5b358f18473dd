"""How a view lies in the memory that it is of, as an index and an order of axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Pick = int | slice


@dataclass(frozen=True)
class Layout:
    """`base[picks]`, its axes permuted to `order`, and in the shape of the view.

    `order` lists the axes of `base[picks]` as the view has them, without those of one entry.
    """

    picks: tuple[Pick, ...]
    order: tuple[int, ...]


def layout(
    base: Sequence[int], shape: Sequence[int], strides: Sequence[int], offset: int
) -> Layout | None:
    """How a view of a contiguous tensor of shape `base` lies in it; None where it merges axes,
    takes a diagonal, or shows entries twice."""
    steps = [1] * len(base)
    for axis in range(len(base) - 2, -1, -1):
        steps[axis] = steps[axis + 1] * base[axis + 1]
    starts = [offset // step % n if n else 0 for step, n in zip(steps, base, strict=True)]
    found: dict[int, slice] = {}
    seen: list[int] = []
    for n, stride in zip(shape, strides, strict=True):
        if n == 1:
            continue
        axes = [a for a, step in enumerate(steps) if base[a] > 1 and stride and stride >= step]
        if not axes or n == 0:
            return None
        axis = axes[0]
        by, rest = divmod(stride, steps[axis])
        last = starts[axis] + (n - 1) * by
        if rest or axis in found or last >= base[axis]:
            return None
        whole = by == 1 and n == base[axis]
        found[axis] = slice(None) if whole else slice(starts[axis], last + 1, by)
        seen.append(axis)
    picks: list[Any] = [found.get(a, start) for a, start in enumerate(starts)]
    kept = sorted(seen)
    return Layout(tuple(picks), tuple(kept.index(axis) for axis in seen))
