"""Boxes around masks."""

from __future__ import annotations

import torch
from torch import Tensor


def masks_to_boxes(masks: Tensor, convention: str) -> Tensor:
    """Tight boxes (x0, y0, x1, y1) in pixels, float32 [..., 4], of bool masks [..., H, W].

    `mask2box`: right and bottom are the last pixel's, an empty mask gives (1e8, 1e8, 0, 0);
    `bitmask`: they lie one further, an empty mask gives zeros.
    """
    sides = []
    for line in (masks.any(-2), masks.any(-1)):
        size, hit = line.shape[-1], line.int()
        some = line.any(-1)
        first = hit.argmax(-1).float()
        last = (size - 1 - hit.flip(-1).argmax(-1)).float()
        if convention == "bitmask":
            first, last = torch.where(some, first, 0.0), torch.where(some, last + 1, 0.0)
        else:
            first, last = torch.where(some, first, 1e8), torch.where(some, last, 0.0)
        sides.append((first, last))
    (x0, x1), (y0, y1) = sides
    return torch.stack((x0, y0, x1, y1), -1)
