"""Maps at another resolution, their sums kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Window = tuple[float, float, float, float]  # top, left, height, width
Values = NDArray[np.float64]


def spread(values: Values, size: tuple[int, int], window: Window | None = None) -> Values:
    """A map [h, w] at another size (H, W): each pixel's value goes to the pixels that it overlaps,
    in proportion to the areas. `window` is what of that size the map shows (default: all)."""
    top, left, height, width = window or (0.0, 0.0, *size)
    rows = _shares(values.shape[0], size[0], top, height)
    columns = _shares(values.shape[1], size[1], left, width)
    return np.asarray(rows @ values @ columns.T)


def _shares(before: int, after: int, start: float, length: float) -> Values:
    """The share of each of `before` equal parts of a span in each of the `after` pixels of an edge,
    on which the span starts there and is so long: [after, before]."""
    old = start / after + np.arange(before + 1.0) / before * (length / after)
    new = np.arange(after + 1.0)[:, None] / after
    overlap = np.minimum(new[1:], old[1:]) - np.maximum(new[:-1], old[:-1])
    return np.asarray(overlap.clip(min=0) * before * (after / length))
