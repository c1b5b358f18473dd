"""Confidence intervals of means by bootstrap: images are drawn, each with all of its objects."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean over `n` objects, its standard error (None: of fewer than two), and the interval that
    holds 95 % of the means of resampled images (None: of fewer than two images)."""

    mean: float
    error: float | None
    n: int
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} ± {(self.high - self.low) / 2:.3f}"

    @property
    def apart(self) -> bool:
        """Of a mean of differences: whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def mean(values: Sequence[float | None], clusters: Sequence[Hashable] | None = None) -> Mean | None:
    """The mean of what is there; None where nothing is.

    `clusters` names the image of each value. Objects of one image are not independent: the
    percentile bootstrap (Efron & Tibshirani 1993, ch. 13) draws images, with replacement. Its
    draws are the same for all means over the same images.
    """
    groups = range(len(values)) if clusters is None else clusters
    known = [(v, group) for v, group in zip(values, groups, strict=True) if v is not None]
    n = len(known)
    if not n:
        return None
    average = math.fsum(value for value, _ in known) / n
    if n == 1:
        return Mean(average, None, 1)
    variance = math.fsum((value - average) ** 2 for value, _ in known) / (n - 1)
    return Mean(average, math.sqrt(variance / n), n, *_interval(known))


def _interval(known: Sequence[tuple[float, Hashable]]) -> tuple[float | None, float | None]:
    numbers = {group: i for i, group in enumerate(dict.fromkeys(group for _, group in known))}
    if len(numbers) < 2:
        return None, None
    sums, counts = np.zeros(len(numbers)), np.zeros(len(numbers))
    for value, group in known:
        sums[numbers[group]] += value
        counts[numbers[group]] += 1
    drawn = np.random.default_rng(0).integers(0, len(numbers), (DRAWS, len(numbers)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
