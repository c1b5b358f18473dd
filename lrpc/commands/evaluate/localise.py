"""How much of a relevance map lies on the object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lrpc.program.protocol import Box


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
    """`relevance` [h, w], `mask` bool [h, w], `box` (x0, y0, x1, y1), all without padding."""
    positive, absolute = relevance.clamp(min=0), relevance.abs()
    inside = box_mask(box, relevance)
    return Localisation(
        mass(positive, mask),
        mass(absolute, mask),
        mass(positive, inside),
        mass(absolute, inside),
        rank_accuracy(relevance, mask),
        pointing(relevance, mask),
        float(mask.double().mean()),
        float(inside.double().mean()),
    )


def box_mask(box: Box, like: Tensor) -> Tensor:
    """Bool [h, w]: the pixels whose centre lies in the box."""
    ys = torch.arange(like.shape[0], device=like.device) + 0.5
    xs = torch.arange(like.shape[1], device=like.device) + 0.5
    rows, columns = (ys > box[1]) & (ys < box[3]), (xs > box[0]) & (xs < box[2])
    return rows[:, None] & columns[None, :]


def mass(values: Tensor, region: Tensor) -> float | None:
    """Σ of `values` ≥ 0 in `region`, over Σ everywhere; None where that is 0."""
    total = float(values.double().sum())
    return float(values.double()[region].sum()) / total if total > 0 else None


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
