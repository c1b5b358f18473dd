"""Relevance around objects, or of whole images, brought to one size: what the maps of a class have
in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Crop = NDArray[np.float32]  # [EDGE, EDGE], Σ |values| = 1
Edges = tuple[float, float, float, float]  # x0, y0, x1, y1
#: What of an image is looked at: what lies around the object, or all that the network sees.
CROPS = ("object", "image")
EDGE = 24
_MARGIN = 0.25  # of the box's edges, that is seen around it on each side


def crop_of(
    values: NDArray[np.float64],
    row: Mapping[str, Any],
    about: Mapping[str, Any],
    edge: int = EDGE,
    crop: str = CROPS[0],
) -> Crop | None:
    """A map [h, w] of a target and an image, given as their rows, as `edge` × `edge`: around the
    target's box, which is always at the same place, or all of it (`crop` image, or no box). None
    where there is no relevance in it."""
    height, width = values.shape
    top, left, tall, wide = about["seen"] or (0.0, 0.0, about["height"], about["width"])
    x0, y0, x1, y1 = window_of(row, about, crop)
    across, down = width / wide, height / tall
    edges = (
        (x0 - left) * across, (y0 - top) * down, (x1 - left) * across, (y1 - top) * down,
    )  # fmt: skip
    if edges[2] - edges[0] < 1 or edges[3] - edges[1] < 1:
        return None
    found = resized(values, edges, edge)
    total = np.abs(found).sum()
    return (found / total).astype(np.float32) if total > 0 else None


def crops_of(row: Mapping[str, Any], crops: Sequence[str] = CROPS) -> tuple[str, ...]:
    """Which of the crops a target has: without a box that of the whole image alone."""
    return tuple(crops) if row["x0"] is not None else CROPS[1:]


def window_of(row: Mapping[str, Any], about: Mapping[str, Any], crop: str = CROPS[0]) -> Edges:
    """The edges of what is looked at, in pixels of the image on disk: with a margin around the
    target's box, or of all that the network sees (`crop` image, or no box)."""
    if crop == CROPS[1] or row["x0"] is None:
        top, left, tall, wide = about["seen"] or (0.0, 0.0, about["height"], about["width"])
        return left, top, left + wide, top + tall
    x0, y0, x1, y1 = (row[edge] for edge in ("x0", "y0", "x1", "y1"))
    across, down = _MARGIN * (x1 - x0), _MARGIN * (y1 - y0)
    return x0 - across, y0 - down, x1 + across, y1 + down


def resized(values: NDArray[np.float64], edges: Edges, edge: int) -> NDArray[np.float64]:
    """What lies between the edges (x0, y0, x1, y1), averaged to `edge` × `edge`; nothing beyond
    the image."""
    pad = int(max(0.0, -min(edges), edges[2] - values.shape[1], edges[3] - values.shape[0])) + 1
    whole = Image.fromarray(np.pad(values, pad).astype(np.float32))
    box = tuple(one + pad for one in edges)
    small = whole.resize((edge, edge), Image.Resampling.BOX, box=box)  # type: ignore[arg-type]
    return np.asarray(small, dtype=np.float64)
