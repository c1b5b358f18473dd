"""Figures of relevance maps: shares on an object, likeness of two maps, overlap of two objects.

A pixel lies in a box (x0, y0, x1, y1) where its centre does: x0 ≤ x + ½ < x1, likewise for y. So
boxes that touch share no pixel, a box holds the pixels that the polygon of its corners holds, and
one with whole edges those of the slice [y0:y1, x0:x1], which is what energy-based pointing games
sum (Wang et al. 2020, 1910.01279). Pixels at an edge count whole or not at all, as those of masks.

Maps and masks are [h, w], without padding. Sums are in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.program.protocol import Box, Size

_SIGMA, _RADIUS = 1.5, 5  # Wang et al. 2004: 11 × 11, σ = 1.5
_K1, _K2 = 0.01, 0.03

# -- on an object ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Localisation:
    """Shares in [0, 1] of one map on one object; None where there is no relevance to share out.

    `positive_*` and `absolute_*`: of Σ max(R, 0) and Σ |R| (relevance mass accuracy, Arras et al.
    2022, 2003.07258); `rank`: of the |mask| pixels with the largest R, those inside the mask
    (relevance rank accuracy, ibid.); `pointing`: 1 where the largest R lies inside the mask
    (pointing game, Zhang et al. 2018, 1608.00507). `mask_area` and `box_area` are what a map that
    knows nothing gets.
    """

    positive_in_mask: float | None
    absolute_in_mask: float | None
    positive_in_box: float | None
    absolute_in_box: float | None
    rank: float | None
    pointing: float | None
    mask_area: float
    box_area: float


def localise(relevance: Tensor, mask: Tensor, box: Box) -> Localisation:
    """`relevance` [h, w] on an object of `mask` bool [h, w] and `box`."""
    positive, absolute = relevance.clamp(min=0), relevance.abs()
    inside = box_mask(box, (relevance.shape[0], relevance.shape[1])).to(relevance.device)
    return Localisation(
        share(positive, mask),
        share(absolute, mask),
        share(positive, inside),
        share(absolute, inside),
        rank_accuracy(relevance, mask),
        pointing(relevance, mask),
        float(mask.double().mean()),
        float(inside.double().mean()),
    )


def box_mask(box: Box, size: Size) -> Tensor:
    """Bool [h, w]: the pixels of an image of `size` whose centre lies in the box."""
    y, x = (torch.arange(edge, dtype=torch.float64) + 0.5 for edge in size)
    rows, columns = (y >= box[1]) & (y < box[3]), (x >= box[0]) & (x < box[2])
    return rows[:, None] & columns[None, :]


def share(values: Tensor, region: Tensor) -> float | None:
    """Σ of `values` ≥ 0 in `region`, over Σ everywhere; None where that is 0."""
    total = float(values.double().sum())
    return float(values.double()[region].sum()) / total if total > 0 else None


def positive_share(relevance: Tensor, box: Box) -> float | None:
    """The share of the positive relevance that lies in a box; None where nothing is positive."""
    inside = box_mask(box, (relevance.shape[0], relevance.shape[1]))
    return share(relevance.clamp(min=0), inside.to(relevance.device))


def rank_accuracy(relevance: Tensor, mask: Tensor) -> float | None:
    """Of as many pixels with the largest relevance as the mask holds, the share inside it."""
    size = int(mask.sum())
    if not size:
        return None
    largest = relevance.flatten().topk(size).indices
    return float(mask.flatten()[largest].double().mean())


def pointing(relevance: Tensor, mask: Tensor) -> float | None:
    """1 where the largest value lies inside the mask, otherwise 0; None for a map of one value,
    which points nowhere."""
    if bool((relevance == relevance.flatten()[0]).all()):
        return None
    return float(mask.flatten()[relevance.argmax()])


# -- of two maps -----------------------------------------------------------------------------------


def spearman(a: Tensor, b: Tensor) -> float | None:
    """Rank correlation of two maps of one size; equal values share the mean of their ranks.

    None where one of them is constant: it has no order to compare.
    """
    return cosine(_centred(a), _centred(b))


def cosine(a: Tensor, b: Tensor) -> float | None:
    """⟨a, b⟩ / (‖a‖ ‖b‖); None where one of them is all zeros."""
    x, y = (v.flatten().double().cpu().numpy() for v in (a, b))
    top = np.abs(x).max(initial=0.0), np.abs(y).max(initial=0.0)
    if top[0] == 0 or top[1] == 0:
        return None
    x, y = x / top[0], y / top[1]  # squares of tiny numbers would vanish
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))


def ranks(values: Tensor) -> Tensor:
    """Ranks from 1 in ascending order, float64 [n]; equal values share the mean of theirs."""
    found = torch.unique(values.flatten(), return_inverse=True, return_counts=True)
    place: Tensor = found[1]
    size: Tensor = found[2].double()
    return (size.cumsum(0) - (size - 1) / 2)[place]


def _centred(values: Tensor) -> Tensor:
    return ranks(values) - (values.numel() + 1) / 2


def pairwise(maps: Sequence[Tensor]) -> dict[str, list[list[float | None]]]:
    """`spearman` and `cosine` of every pair, as square tables."""
    ordered = [_centred(one) for one in maps]
    return {
        "spearman": [[cosine(a, b) for b in ordered] for a in ordered],
        "cosine": [[cosine(a, b) for b in maps] for a in maps],
    }


def ssim(a: Tensor, b: Tensor, span: float) -> float:
    """Mean structural similarity of two maps [h, w] (Wang et al. 2004), Gaussian window.

    `span` is the range that values can have. Means are over the windows that lie inside the map
    whole; both sides must be 11 pixels or more.
    """
    kernel = gaussian(_SIGMA, _RADIUS)
    x, y = a.double(), b.double()
    parts = torch.stack([x, y, x * x, y * y, x * y])[:, None]
    smooth = F.conv2d(F.conv2d(parts, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    mx, my, xx, yy, xy = smooth[:, 0]
    c1, c2 = (_K1 * span) ** 2, (_K2 * span) ** 2
    top = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
    bottom = (mx**2 + my**2 + c1) * (xx - mx**2 + yy - my**2 + c2)
    return float((top / bottom).mean())


def gaussian(sigma: float, radius: int) -> Tensor:
    """Weights of a Gaussian window, float64 [2 radius + 1], that sum to 1."""
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return kernel / kernel.sum()


def unit(values: Tensor, share: float = 0.99) -> Tensor:
    """A map in [−1, 1]: over the magnitude that `share` of its values do not pass, and clipped.

    A few pixels far above the rest would else make all maps alike: zero nearly everywhere. Zeros
    stay zeros.
    """
    magnitudes = values.abs().flatten().double().sort().values
    bound = float(magnitudes[round(share * (len(magnitudes) - 1))])
    bound = bound if bound > 0 else float(magnitudes[-1])
    return (values.double() / bound).clamp(-1, 1) if bound > 0 else values.double()


# -- of two objects --------------------------------------------------------------------------------


def mask_iou(one: Tensor, other: Tensor) -> float:
    """Intersection over union of two masks; 0 where both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 0.0


def box_iou(boxes: Tensor, reference: Box) -> Tensor:
    """Intersection over union of boxes [..., 4] (x0, y0, x1, y1) with one box: [...]."""
    other = boxes.new_tensor(reference)
    low = torch.maximum(boxes[..., :2], other[:2])
    high = torch.minimum(boxes[..., 2:], other[2:])
    common = (high - low).clamp(min=0).prod(-1)
    sizes = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
    union = sizes + (other[2:] - other[:2]).clamp(min=0).prod() - common
    return common / union.clamp(min=torch.finfo(boxes.dtype).tiny)
