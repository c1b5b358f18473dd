"""Relevance as colour: red for, blue against, white for nothing; pure functions on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # [H, W, 3]
Map = NDArray[np.float64]  # [H, W]

#: From -1 to +1 in equal steps; both arms darken alike, so that equal strength looks equal.
ANCHORS = np.array(
    [
        (8, 38, 110),
        (28, 84, 172),
        (72, 136, 208),
        (142, 188, 232),
        (208, 226, 244),
        (255, 255, 255),
        (250, 216, 202),
        (244, 164, 136),
        (224, 100, 80),
        (190, 34, 44),
        (118, 6, 32),
    ],
    dtype=np.float64,
)
NEGATIVE = (28, 84, 190)
POSITIVE = (206, 24, 36)


def signed_map(relevance: NDArray[np.floating]) -> Map:
    """The sum over channels of a relevance [3, H, W] → [H, W]; for display only.

    Raises ValueError where a value is not finite.
    """
    total: Map = np.asarray(relevance, dtype=np.float64).sum(axis=0)
    if not np.isfinite(total).all():
        raise ValueError("the relevance holds values that are not finite")
    return total


def smooth(values: Map, sigma: float) -> Map:
    """A Gaussian of `sigma` pixels with mirrored borders, sum kept; 0 changes nothing."""
    if sigma <= 0:
        return values
    reach = max(1, int(4 * sigma + 0.5))
    steps = np.arange(-reach, reach + 1, dtype=np.float64)
    kernel = np.exp(-0.5 * (steps / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padding = [(reach, reach) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(values, padding, mode="symmetric")
        length = values.shape[axis]
        shifted = (np.take(padded, range(i, i + length), axis=axis) for i in range(len(kernel)))
        values = sum((w * s for w, s in zip(kernel, shifted, strict=True)), np.zeros_like(values))
    return values


def robust_scale(values: Map, percentile: float = 99.5) -> float:
    """The strength that is shown in full colour: that percentile of |values|, the largest where
    the percentile is 0, and 0.0 only for a map of zeros."""
    strength = np.abs(values)
    return float(np.percentile(strength, percentile)) or float(strength.max())


def colourise(values: Map, scale: float) -> Pixels:
    """Colours for a signed map, symmetric about white at zero, in full colour at ±scale."""
    position = (_unit(values, scale) + 1) / 2 * (len(ANCHORS) - 1)
    knots = np.arange(len(ANCHORS))
    channels = [np.interp(position, knots, ANCHORS[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def blend(photo: Pixels, values: Map, scale: float) -> Pixels:
    """The photo in light grey, covered by red or blue as far as |relevance| is strong.

    The cover grows with the strength to the power of 0.7: weak relevance still shows, noise does
    not tint the whole photo.
    """
    grey = photo.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    grey = 56 + grey * (188 / 255)
    unit = _unit(values, scale)
    cover = 0.92 * (np.abs(unit) ** 0.7)[..., None]
    colour = np.where(unit[..., None] >= 0, np.array(POSITIVE), np.array(NEGATIVE))
    mixed = grey[..., None] * (1 - cover) + colour * cover
    pixels: Pixels = mixed.round().astype(np.uint8)
    return pixels


def _unit(values: Map, scale: float) -> Map:
    """Values over the scale, clipped to [-1, 1]; a scale of 0 gives zeros."""
    return np.clip(values / scale, -1, 1) if scale > 0 else np.zeros_like(values)


def imgify(values: NDArray[np.floating], percentile: float = 99.5) -> Pixels:
    """Relevance [h, w] or [3, h, w] as colours uint8 [h, w, 3]: red for, blue against, white for
    nothing; in full colour from that percentile of |values| on."""
    flat = signed_map(values if values.ndim == 3 else values[None])
    return colourise(flat, robust_scale(flat, percentile))
