"""Boxes around masks."""

from __future__ import annotations

import torch
from torch import Tensor

from lrpc.ir.ops.row import Op
from lrpc.ir.ops.traits import Family
from lrpc.ir.ops.traits import Trait as T

EMPTY_MINIMUM = 1e8


def masks_to_boxes(masks: Tensor, convention: str) -> Tensor:
    """Tight boxes (x0, y0, x1, y1) in pixels, float32 [..., 4], of bool masks [..., H, W].

    `mask2box`: the last pixel's indices are right and bottom, an empty mask gives (1e8, 1e8, 0, 0);
    `bitmask`: right and bottom lie one further, an empty mask gives zeros.
    """
    bounds = []
    for occupied in (masks.any(-2), masks.any(-1)):  # [..., W], then [..., H]
        places = torch.arange(occupied.shape[-1], dtype=torch.float32, device=masks.device)
        last = torch.where(occupied, places, torch.zeros_like(places)).amax(-1)
        first = torch.where(occupied, places, EMPTY_MINIMUM * torch.ones_like(places)).amin(-1)
        if convention == "bitmask":
            some = occupied.any(-1)
            first = torch.where(some, first, torch.zeros_like(first))
            last = torch.where(some, last + 1, torch.zeros_like(last))
        bounds.append((first, last))
    (x0, x1), (y0, y1) = bounds
    return torch.stack((x0, y0, x1, y1), -1)


ROWS = (
    Op("masks_to_boxes", 1, {"convention": "mask2box|bitmask"}, masks_to_boxes, Family.BOXES,
       T.CHOOSES | T.FIXED_DTYPE),
)  # fmt: skip
