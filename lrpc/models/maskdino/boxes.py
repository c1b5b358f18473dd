"""Boxes: between conventions, and the inverse sigmoid they are refined in."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """log(x / (1 − x)) of `x` in [0, 1], both factors kept above `eps`."""
    x = x.clamp(0.0, 1.0)
    return torch.log(x.clamp(min=eps) / (1.0 - x).clamp(min=eps))


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """(x0, y0, x1, y1) → (cx, cy, w, h), last dimension 4."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2.0, high - low), -1)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(cx, cy, w, h) → (x0, y0, x1, y1), last dimension 4."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2.0
    return torch.cat((centre - half, centre + half), -1)
