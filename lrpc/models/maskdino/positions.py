"""Positions, reference points and proposals: constants of the image size unless padding is given.

All of it is computed in float64 and rounded once to the model's dtype, with batch size 1; only with
`masks` (bool [B, H, W] per level, True = padded) does a real batch dimension appear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lrpc.models.maskdino.layers import Shapes

_TEMPERATURE = 10000.0
PROPOSAL_SIZE = 0.05  # side of a proposal at the first level, relative to the image


def _cast(values: Tensor, like: Tensor) -> Tensor:
    return values.to(device=like.device, dtype=like.dtype)


def _wavelengths(channels: int) -> Tensor:
    """Divisors of the sine code: neighbours share one, sine first and cosine second."""
    index = torch.arange(channels, dtype=torch.float64)
    return _TEMPERATURE ** (2 * torch.div(index, 2, rounding_mode="floor") / channels)


def _interleave(angles: Tensor) -> Tensor:
    """Sine at even and cosine at odd places of the last dimension."""
    return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), -1).flatten(-2)


def map_positions(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """Normalised 2-D sine code of a map, y in the first half: [1, H·W, channels]."""
    divisors = _wavelengths(channels // 2)
    codes = []
    for size in (height, width):
        steps = torch.arange(1, size + 1, dtype=torch.float64)
        codes.append(_interleave((steps / (steps[-1:] + 1e-6) * 2 * math.pi)[:, None] / divisors))
    rows = codes[0][:, None].expand(height, width, -1)
    columns = codes[1][None].expand(height, width, -1)
    return _cast(torch.cat((rows, columns), -1).flatten(0, 1)[None], like)


def box_positions(boxes: Tensor) -> Tensor:
    """Sine code of boxes (cx, cy, w, h) [B, Q, 4], in the order y, x, w, h: [B, Q, 512]."""
    x, y, w, h = boxes[..., 0:1], boxes[..., 1:2], boxes[..., 2:3], boxes[..., 3:4]
    ordered = torch.stack((y, x, w, h), -2)  # [B, Q, 4, 1]
    return _interleave(ordered * (2 * math.pi) / _cast(_wavelengths(128), boxes)).flatten(-2)


def _centres(height: int, width: int) -> Tensor:
    """Cell centres in cells, (x, y), row by row: [H·W, 2]."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) + 0.5,
        torch.arange(width, dtype=torch.float64) + 0.5,
        indexing="ij",
    )
    return torch.stack((x, y), -1).flatten(0, 1)


def _valid_sizes(mask: Tensor, like: Tensor) -> Tensor:
    """Width and height of the part of each map that is not padding: [B, 1, 2]."""
    kept = torch.logical_not(mask).to(like.dtype)
    return torch.stack((kept[:, 0, :].sum(1), kept[:, :, 0].sum(1)), -1).unsqueeze(1)


def valid_ratios(shapes: Shapes, masks: Sequence[Tensor], like: Tensor) -> Tensor:
    """Share of every map that is not padding, (x, y): [B, L, 2]."""
    ratios = []
    for (height, width), mask in zip(shapes, masks, strict=True):
        whole = torch.tensor([width, height], dtype=like.dtype, device=like.device)
        ratios.append(_valid_sizes(mask, like) / whole)
    return torch.cat(ratios, 1)


def token_references(shapes: Shapes, masks: Sequence[Tensor] | None, like: Tensor) -> Tensor:
    """Reference point of every token in every level, (x, y): [1 or B, N, L, 2]."""
    levels = len(shapes)
    if masks is None:
        relative = [_centres(h, w) / torch.tensor([w, h]) for h, w in shapes]
        return _cast(torch.cat(relative)[None, :, None].expand(-1, -1, levels, -1), like)
    points = [
        _cast(_centres(h, w), like) / _valid_sizes(mask, like)
        for (h, w), mask in zip(shapes, masks, strict=True)
    ]  # [B, H·W, 2] each
    return torch.cat(points, 1).unsqueeze(2) * valid_ratios(shapes, masks, like).unsqueeze(1)


def proposals(
    shapes: Shapes, masks: Sequence[Tensor] | None, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Boxes that two-stage selection starts from, and which of them count.

    Returns inverse sigmoids of (cx, cy, w, h) [1 or B, N, 4], +inf where invalid, and the validity
    [1 or B, N, 1].
    """
    boxes = []
    for level, (height, width) in enumerate(shapes):
        centres = _centres(height, width)[None]
        if masks is None:
            centres = _cast(centres / torch.tensor([width, height]), like)
        else:
            centres = _cast(centres, like) / _valid_sizes(masks[level], like)
        size = torch.ones_like(centres) * (PROPOSAL_SIZE * 2.0**level)
        boxes.append(torch.cat((centres, size), -1))
    box = torch.cat(boxes, 1)
    valid = torch.logical_and(box > 0.01, box < 0.99).all(-1, keepdim=True)
    if masks is not None:
        padded = torch.cat([mask.flatten(1) for mask in masks], 1)
        valid = torch.logical_and(valid, torch.logical_not(padded).unsqueeze(-1))
    safe = torch.where(valid, box, torch.full_like(box, 0.5))
    logits = torch.log(safe / (1.0 - safe))
    return torch.where(valid, logits, torch.full_like(box, math.inf)), valid
