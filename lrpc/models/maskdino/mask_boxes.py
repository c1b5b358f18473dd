"""Boxes around masks: a file of its own, as traces name the place that calls it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

_EMPTY_MINIMUM = 1e8  # what an empty mask's smallest coordinate is under `mask2box`


def masks_to_boxes(masks: Tensor, convention: str) -> Tensor:
    """Tight boxes (x0, y0, x1, y1) in pixels [B, Q, 4], float32, of `masks` (bool [B, Q, H, W]).

    `bitmask`: right and bottom lie one past the last pixel, an empty mask gives zeros. `mask2box`:
    they are the last pixel's indices, and an empty mask gives (1e8, 1e8, 0, 0).
    """
    if has_torch_function_unary(masks):  # a tracer keeps the call whole
        boxes: Tensor = handle_torch_function(masks_to_boxes, (masks,), masks, convention)
        return boxes
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
