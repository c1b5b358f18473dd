"""How maps and masks are stored: numbers of 32, 16 or 8 bits with a scale, and run lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
#: Name → what it costs of a map's values, for help and docs.
PRECISIONS = {
    "float32": "as they are",
    "float16": "to 0.05 % of each, or 3e-8 of the map's largest where that is more",
    "int8": "to 0.4 % of the map's largest",
    "none": "no maps: tables alone",
}
_LEVELS = 127


def encode(values: Map, precision: str) -> tuple[NDArray[Any], float]:
    """A map as it is stored, and the scale by which that is multiplied again.

    `float16` and `int8` are shares of the largest magnitude, rounded to the nearest: off by at most
    2⁻¹¹ of a value (or 2⁻²⁵ of the largest), and by 1/254 of the largest.
    """
    if precision == "float32":
        return np.ascontiguousarray(values, dtype=np.float32), 1.0
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0:
        kind = np.float16 if precision == "float16" else np.int8
        return np.zeros(values.shape, kind), 1.0
    shares = values.astype(np.float64) / largest
    if precision == "float16":
        return shares.astype(np.float16), largest
    return np.rint(shares * _LEVELS).astype(np.int8), largest / _LEVELS


def decode(stored: NDArray[Any], scale: float) -> Map:
    """The map that was stored, float32."""
    return (stored.astype(np.float64) * scale).astype(np.float32)


def runs(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """COCO's run lengths of a mask [h, w]: of 0, of 1, of 0, … down its columns."""
    flat = mask.reshape(-1, order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(edges, prepend=0, append=flat.size)
    first = [0] if flat.size and flat[0] else []
    return np.concatenate([np.array(first, np.int64), lengths]).astype(np.int32)


def from_runs(lengths: NDArray[np.int32], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask [h, w] of COCO's run lengths."""
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(size, order="F")
