"""Relevance, boxes and masks at the size that an image has on disk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lrpc.commands.session.images import LoadedImage, Window
from lrpc.program.protocol import Box, Detection, Size
from lrpc.results import resample


def original_map(relevance: Tensor, image: LoadedImage) -> Tensor:
    """Relevance [3, H, W] of the network's input as a map of the image on disk, float32 [h, w]:
    summed over channels, without the padding's, and 0 where the network sees nothing."""
    height, width = image.valid
    return spread(relevance[:, :height, :width].sum(0), image.original, image.seen).float()


def original_box(box: Box, image: LoadedImage) -> Box:
    """A box of the network's input in pixels of the image on disk."""
    top, left, *edges = image.seen
    down, across = (o / v for o, v in zip(edges, image.valid, strict=True))
    x0, y0, x1, y1 = box
    return left + x0 * across, top + y0 * down, left + x1 * across, top + y1 * down


def in_network(point: tuple[float, float], image: LoadedImage) -> tuple[float, float]:
    """A point (x, y) of the image on disk in pixels of the network's input."""
    top, left, height, width = image.seen
    return (
        (point[0] - left) * image.valid[1] / width,
        (point[1] - top) * image.valid[0] / height,
    )


def seen_size(window: Window) -> Size:
    """The size of a window in whole pixels."""
    return max(1, round(window[2])), max(1, round(window[3]))


def placed(one: Detection, window: Window | None, original: Size) -> Detection:
    """A detection whose mask of what is seen of an image lies in the whole of it."""
    if window is None or one.original_mask is None:
        return one
    whole = np.zeros(original, dtype=bool)
    top, left = round(window[0]), round(window[1])
    part = whole[top : top + one.original_mask.shape[0], left : left + one.original_mask.shape[1]]
    part[:] = one.original_mask[: part.shape[0], : part.shape[1]]
    return replace(one, original_mask=whole)


def spread(values: Tensor, size: Size, window: Window | None = None) -> Tensor:
    """A map [h, w] at another resolution, its sum kept: `lrpc.results.resample.spread`; float64."""
    return torch.from_numpy(resample.spread(values.double().numpy(), size, window))
