"""Deletion and insertion: images with patches taken away or put back, in order of relevance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.commands.session.metrics import gaussian
from lrpc.program.protocol import Size


@dataclass(frozen=True)
class Curve:
    """Scores at fractions of the image in [0, 1], ascending; the score at full image is 1."""

    fractions: tuple[float, ...]
    scores: tuple[float, ...]

    def area(self) -> float:
        """The area under the curve by trapezoids, over the fractions' whole range [0, 1]."""
        points = zip(self.fractions, self.scores, strict=True)
        return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))


@dataclass(frozen=True, eq=False)
class Order:
    """The patches of an image by relevance, most relevant first.

    `rank` int64 [H, W] is the place of each pixel's patch in that order, and `count` in padding;
    so `rank < k` are the k most relevant patches.
    """

    rank: Tensor
    count: int

    def removed(self, k: int) -> Tensor:
        """Deletion: bool [H, W], the k most relevant patches are gone."""
        return self.rank < k

    def missing(self, k: int) -> Tensor:
        """Insertion: bool [H, W], all but the k most relevant patches are gone."""
        return self.rank >= k


def patch_order(relevance: Tensor, valid: Size, patch: int, generator: torch.Generator) -> Order:
    """Square patches of `patch` pixels of a map [H, W] by their sums, largest first.

    Only the `valid` part (h, w) at the top left counts; patches at its edges may be cut. Equal sums
    are put into an order drawn from `generator`.
    """
    height, width = valid
    patch = min(patch, max(valid))  # a larger one is the whole image, too
    inside = relevance[:height, :width].double()
    rows, columns = -(-height // patch), -(-width // patch)
    grid = F.pad(inside, (0, columns * patch - width, 0, rows * patch - height))
    sums = grid.reshape(rows, patch, columns, patch).sum((1, 3)).flatten()
    shuffled = torch.randperm(len(sums), generator=generator)
    order = shuffled[sums[shuffled].argsort(descending=True, stable=True)]
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    pixels = place.reshape(rows, columns).repeat_interleave(patch, 0).repeat_interleave(patch, 1)
    rank = torch.full(relevance.shape, len(order), dtype=torch.int64)
    rank[:height, :width] = pixels[:height, :width]
    return Order(rank, len(order))


def counts(total: int, steps: int) -> list[int]:
    """How many of `total` patches go at each inner step: total · (k / steps)², k = 1 … steps − 1.

    Finer where few are gone, since there the score changes most. Repeats (few patches, many
    steps), none and all are left out.
    """
    wanted = (round(total * (k / steps) ** 2) for k in range(1, steps))
    return sorted({count for count in wanted if 0 < count < total})


class Fill:
    """What is in the place of pixels that are gone: one image [3, H, W], whichever they are."""

    def __init__(self, whole: Tensor) -> None:
        self.whole = whole  # with all pixels gone

    def without(self, pixels: Tensor, gone: Tensor) -> Tensor:
        """An image [3, H, W] whose pixels where `gone` bool [H, W] are filled."""
        return torch.where(gone, self.whole, pixels)


class Inpainted(Fill):
    """What the pixels that are left suggest, by `inpaint`; the mean colour where none is left."""

    def __init__(self, whole: Tensor, valid: Size) -> None:
        super().__init__(whole)
        self.valid = valid

    def without(self, pixels: Tensor, gone: Tensor) -> Tensor:
        height, width = self.valid
        filled = pixels.clone()
        part, left = pixels[:, :height, :width], ~gone[:height, :width]
        if bool(left.any()):
            filled[:, :height, :width] = inpaint(part, left)
        else:
            filled[:, :height, :width] = self.whole[:, :height, :width]
        return filled


def deletions(pixels: Tensor, fill: Fill, order: Order, chosen: Sequence[int]) -> Iterator[Tensor]:
    """Images [3, H, W] without the most relevant patches, which are filled."""
    for k in chosen:
        yield fill.without(pixels, order.removed(k))


def insertions(pixels: Tensor, fill: Fill, order: Order, chosen: Sequence[int]) -> Iterator[Tensor]:
    """Images [3, H, W] with the most relevant patches only; the others are filled."""
    for k in chosen:
        yield fill.without(pixels, order.missing(k))


def make_curve(
    inner: Sequence[float], chosen: Sequence[int], total: int, first: float, last: float
) -> Curve:
    """The curve through scores at `chosen` patch counts of `total`, and at none and all of them."""
    fractions = (0.0, *(k / total for k in chosen), 1.0)
    return Curve(fractions, (first, *inner, last))


def mean_fill(pixels: Tensor, mean: Sequence[float]) -> Tensor:
    """The mean colour everywhere: what the network sees as zero."""
    return torch.tensor(mean, dtype=pixels.dtype)[:, None, None].expand_as(pixels)


def inpaint(pixels: Tensor, known: Tensor) -> Tensor:
    """An image [3, h, w] whose pixels that are not `known` bool [h, w] are interpolated from the
    known ones, by a pyramid: means of what is known going up, and the next coarser level wherever
    nothing is known going down (push-pull, Gortler et al. 1996, 10.1145/237170.237200)."""
    weight = known.to(torch.float32)[None, None]
    values = pixels.to(torch.float32)[None] * weight
    if weight.shape[-2:] == (1, 1) or bool(known.all()):
        return pixels
    size = [-(-edge // 2) for edge in weight.shape[-2:]]
    pad = (0, 2 * size[1] - weight.shape[-1], 0, 2 * size[0] - weight.shape[-2])
    share = F.avg_pool2d(F.pad(weight, pad), 2)
    coarse = F.avg_pool2d(F.pad(values, pad), 2) / share.clamp(min=1e-6)
    coarse = inpaint(coarse[0], share[0, 0] > 0)[None]
    finer = F.interpolate(coarse, weight.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(known, pixels, finer[0].to(pixels.dtype))


def blur_fill(pixels: Tensor, valid: Size) -> Tensor:
    """The image [3, H, W] blurred by a Gaussian of 1/16 of the valid part's shorter side; padding
    stays as it is."""
    sigma = min(valid) / 16
    radius = int(3 * sigma + 0.5)
    kernel = gaussian(sigma, radius)
    part = pixels[:, None, : valid[0], : valid[1]].double()  # [3, 1, h, w]
    part = F.pad(part, (radius, radius, radius, radius), mode="replicate")
    part = F.conv2d(F.conv2d(part, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    blurred = pixels.clone()
    blurred[:, : valid[0], : valid[1]] = part[:, 0].to(pixels.dtype)
    return blurred
