"""The sampling map of multi-scale deformable attention as a sparse matrix, and its transposes.

Row (b, q, h) of the map has one entry per level, point and corner: an index into the rows
(b, s, h) of the value and a coefficient. Corners outside a map have coefficient 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def deform_corners(loc: Tensor, levels: tuple[tuple[int, int], ...]) -> tuple[Tensor, Tensor]:
    """Value row and bilinear coefficient of every corner: both [B, Q, H, L, P, 4].

    loc [B, Q, H, L, P, 2] as (x, y) in [0, 1]; pixel centres lie at half-integers. A coefficient is
    the product of one factor per axis, 0 outside the map.
    """
    b, _, h = loc.shape[:3]
    rows = sum(height * width for height, width in levels)
    image = torch.arange(b, device=loc.device, dtype=torch.int32).view(b, 1, 1, 1) * rows
    head = torch.arange(h, device=loc.device, dtype=torch.int32).view(1, 1, h, 1)
    index = torch.empty((*loc.shape[:-1], 4), dtype=torch.int32, device=loc.device)
    coefficient = loc.new_empty((*loc.shape[:-1], 4))
    start = 0
    for level, (height, width) in enumerate(levels):
        columns = deform_axis(loc[:, :, :, level, :, 0], width)
        lines = deform_axis(loc[:, :, :, level, :, 1], height)
        first = (image + start) * h + head
        for j, (line, below) in enumerate(lines):
            row = first + line * (width * h)
            for i, (column, right) in enumerate(columns):
                torch.add(row, column, alpha=h, out=index[:, :, :, level, :, 2 * j + i])
                torch.mul(below, right, out=coefficient[:, :, :, level, :, 2 * j + i])
        start += height * width
    return index, coefficient


def deform_axis(loc: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """The two cells next to `loc` along one axis, clamped, each with its factor."""
    place = loc * size - 0.5
    low = place.floor()
    right = place - low
    left = (1 - right).masked_fill_((low < 0) | (low >= size), 0.0)
    right.masked_fill_((low < -1) | (low >= size - 1), 0.0)
    cell = low.int()
    return [(cell.clamp(0, size - 1), left), ((cell + 1).clamp_(0, size - 1), right)]


def deform_sample(
    value: Tensor, loc: Tensor, weight: Tensor, levels: tuple[tuple[int, int], ...]
) -> Tensor:
    """Σ weight · bilinear(value at loc): [B, Q, H·D] from value [B, S, H, D]."""
    b, _, h, d = value.shape
    index, coefficient = deform_corners(loc, levels)
    entries = (coefficient * weight.unsqueeze(-1)).reshape(-1, index[0, 0, 0].numel())
    table = value.reshape(-1, d)
    out = F.embedding_bag(
        index.reshape(entries.shape), table, mode="sum", per_sample_weights=entries.to(table.dtype)
    )
    return out.reshape(b, -1, h * d)


def deform_splat(
    g: Tensor, loc: Tensor, weight: Tensor, levels: tuple[tuple[int, int], ...]
) -> Tensor:
    """The transpose of `deform_sample` in value: [K, B, S, H, D] from g [K, B, Q, H·D].

    The matrix is transposed once (entries sorted by value row, zeros dropped) for all seeds.
    """
    k, b, q = g.shape[:3]
    h = loc.shape[2]
    index, coefficient = deform_corners(loc, levels)
    entries = (coefficient * weight.unsqueeze(-1)).flatten()
    rows = b * h * sum(height * width for height, width in levels)
    kept = entries.nonzero().squeeze(1)
    target, order = torch.sort(index.flatten()[kept], stable=True)
    kept = kept[order]
    offsets = torch.searchsorted(target, torch.arange(rows, device=g.device, dtype=target.dtype))
    source = kept.to(torch.int32) // index[0, 0, 0].numel()
    parts = entries[kept].to(g.dtype)
    seeds = g.reshape(k, b * q * h, -1)
    bags = [
        F.embedding_bag(source, seed, offsets.to(torch.int32), mode="sum", per_sample_weights=parts)
        for seed in seeds
    ]
    return torch.stack(bags).reshape(k, b, -1, h, seeds.shape[-1])


def deform_weight_transpose(
    g: Tensor, value: Tensor, loc: Tensor, levels: tuple[tuple[int, int], ...]
) -> Tensor:
    """The transpose of `deform_sample` in weight: [K, B, Q, H, L, P] from g [K, B, Q, H·D]."""
    k, b, q = g.shape[:3]
    h, d = value.shape[2:]
    index, coefficient = deform_corners(loc, levels)
    points = loc[0, 0, 0, ..., 0].numel()
    table = value.reshape(-1, d)
    picked = F.embedding_bag(
        index.reshape(-1, 4),
        table,
        mode="sum",
        per_sample_weights=coefficient.reshape(-1, 4).to(table.dtype),
    ).reshape(b * q * h, points, d)
    out = torch.matmul(picked, g.reshape(k, b * q * h, d, 1))
    return out.reshape(k, *loc.shape[:-1])


def deform_location_transpose(
    g: Tensor, value: Tensor, loc: Tensor, weight: Tensor, levels: tuple[tuple[int, int], ...]
) -> Tensor:
    """The gradient of `deform_sample` in loc at `loc`: [K, B, Q, H, L, P, 2] from g [K, B, Q, H·D].

    Bilinear interpolation between corners a b / c d at (x, y) has the slopes
    (1 - y)(b - a) + y (d - c) and (1 - x)(c - a) + x (d - b), per pixel.
    """
    k, b, q = g.shape[:3]
    h, d = value.shape[2:]
    index, coefficient = deform_corners(loc, levels)
    corners = value.reshape(-1, d)[index.flatten().long()].reshape(b * q * h, -1, d)
    sizes = loc.new_tensor([(width, height) for height, width in levels]).unsqueeze(1)  # [L, 1, 2]
    place = loc * sizes - 0.5
    right, below = (place - place.floor()).unbind(-1)
    inside = deform_inside(place.floor(), levels)
    signs = torch.stack(
        [
            torch.stack([below - 1, 1 - below, -below, below], -1),
            torch.stack([right - 1, -right, 1 - right, right], -1),
        ],
        -2,
    )  # [B, Q, H, L, P, 2, 4]: what each corner adds to the slope along x, along y
    slopes = signs * inside.unsqueeze(-2) * (weight.unsqueeze(-1) * sizes).unsqueeze(-1)
    products = torch.matmul(g.reshape(k, b * q * h, 1, d), corners.transpose(-1, -2))
    products = products.reshape(k, *coefficient.shape)  # g · corner: [K, B, Q, H, L, P, 4]
    return (slopes * products.unsqueeze(-2)).sum(-1)


def deform_inside(corner: Tensor, levels: tuple[tuple[int, int], ...]) -> Tensor:
    """Which of the four corners from `corner` [..., L, P, 2] lie in their map: [..., L, P, 4]."""
    sizes = corner.new_tensor([(width, height) for height, width in levels]).unsqueeze(1)
    steps = corner.new_tensor([(0, 0), (1, 0), (0, 1), (1, 1)])
    places = corner.unsqueeze(-2) + steps
    found = (places >= 0) & (places < sizes.unsqueeze(-2))
    return found.all(-1).to(corner.dtype)
