"""How alike maps of relevance are: rank correlation and cosine, for every pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def spearman(a: Values, b: Values) -> float | None:
    """Rank correlation of two arrays of one size; ties take their mean rank.

    None where one of them is constant: it has no order to compare.
    """
    x, y = ranks(a) - (a.size + 1) / 2, ranks(b) - (b.size + 1) / 2
    return cosine(x, y)


def cosine(a: Values, b: Values) -> float | None:
    """⟨a, b⟩ / (‖a‖ ‖b‖); None where one of them is all zeros."""
    x, y = a.ravel(), b.ravel()
    top = np.abs(x).max(initial=0.0), np.abs(y).max(initial=0.0)
    if top[0] == 0 or top[1] == 0:
        return None
    x, y = x / top[0], y / top[1]  # squares of tiny numbers would vanish
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))


def ranks(values: Values) -> Values:
    """Ranks from 1 in ascending order, flat; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Values = last - (counts - 1) / 2
    return mean[inverse.ravel()]


def pairwise(maps: Sequence[Values]) -> dict[str, list[list[float | None]]]:
    """`spearman` and `cosine` of every pair, as square tables."""
    ordered = [ranks(one) - (one.size + 1) / 2 for one in maps]
    return {
        "spearman": [[cosine(a, b) for b in ordered] for a in ordered],
        "cosine": [[cosine(a, b) for b in maps] for a in maps],
    }


def share_inside(values: Values, box: tuple[float, float, float, float]) -> float | None:
    """The share of the positive values [H, W] that lies in a box (x0, y0, x1, y1 in pixels), by
    pixel centres; None where nothing is positive."""
    positive = np.clip(values, 0, None)
    total = float(positive.sum())
    if total == 0:
        return None
    y, x = (np.arange(size) + 0.5 for size in values.shape)
    rows, columns = (y >= box[1]) & (y < box[3]), (x >= box[0]) & (x < box[2])
    return float(positive[np.ix_(rows, columns)].sum() / total)
