"""Boxes: from masks, between conventions, and the inverse sigmoid they are refined in."""

from __future__ import annotations

import torch
from torch import Tensor

_EMPTY_MINIMUM = 1e8  # what an empty mask's smallest coordinate is under `mask2box`


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """log(x / (1 − x)) of `x` in [0, 1], both factors kept above `eps`."""
    x = x.clamp(0.0, 1.0)
    return torch.log(x.clamp(min=eps) / (1.0 - x).clamp(min=eps))


def masks_to_boxes(masks: Tensor, convention: str) -> Tensor:
    """Tight boxes (x0, y0, x1, y1) in pixels [B, Q, 4], float32, of `masks` (bool [B, Q, H, W]).

    `bitmask`: right and bottom lie one past the last pixel, an empty mask gives zeros. `mask2box`:
    they are the last pixel's indices, and an empty mask gives (1e8, 1e8, 0, 0).
    """
    edges = []
    for occupied in (masks.any(-2), masks.any(-1)):  # [B, Q, W], then [B, Q, H]
        steps = torch.arange(occupied.shape[-1], dtype=torch.float32, device=masks.device)
        last = torch.where(occupied, steps, torch.full_like(steps, -1.0)).amax(-1)
        first = torch.where(occupied, steps, torch.full_like(steps, _EMPTY_MINIMUM)).amin(-1)
        if convention == "bitmask":
            empty = last < 0
            first = torch.where(empty, torch.zeros_like(first), first)
            last = last + 1.0
        else:
            last = last.clamp(min=0.0)
        edges.append((first, last))
    (left, right), (top, bottom) = edges
    return torch.stack((left, top, right, bottom), -1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """(x0, y0, x1, y1) → (cx, cy, w, h), last dimension 4."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2.0, high - low), -1)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(cx, cy, w, h) → (x0, y0, x1, y1), last dimension 4."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2.0
    return torch.cat((centre - half, centre + half), -1)
