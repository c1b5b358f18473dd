"""Relevance and boxes at the size that an image has on disk."""

from __future__ import annotations

import torch
from torch import Tensor

from lrpc.commands.session.images import LoadedImage
from lrpc.program.protocol import Box, Size


def original_map(relevance: Tensor, image: LoadedImage) -> Tensor:
    """Relevance [3, H, W] of the network's input as a map of the image on disk, float32 [h, w]:
    summed over channels, without the padding's."""
    height, width = image.valid
    return spread(relevance[:, :height, :width].sum(0), image.original).float()


def original_box(box: Box, image: LoadedImage) -> Box:
    """A box of the network's input in pixels of the image on disk."""
    down, across = (o / v for o, v in zip(image.original, image.valid, strict=True))
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def spread(values: Tensor, size: Size) -> Tensor:
    """A map [h, w] at another resolution, its sum kept: each pixel's value goes to the pixels that
    it overlaps, in proportion to the areas; float64."""
    rows, columns = (_shares(a, b) for a, b in zip(values.shape, size, strict=True))
    return rows @ values.double() @ columns.T


def _shares(before: int, after: int) -> Tensor:
    """The share of each of `before` equal parts of an edge in each of `after`: [after, before]."""
    old, new = torch.arange(before + 1.0), torch.arange(after + 1.0)
    old, new = old.double() / before, new.double()[:, None] / after
    overlap = torch.minimum(new[1:], old[1:]) - torch.maximum(new[:-1], old[:-1])
    return overlap.clamp(min=0) * before
