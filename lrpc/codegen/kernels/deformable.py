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

    loc [B, Q, H, L, P, 2] as (x, y) in [0, 1]; pixel centres lie at half-integers.
    """
    b, _, h = loc.shape[:3]
    rows = sum(height * width for height, width in levels)
    image = torch.arange(b, device=loc.device, dtype=torch.int32).view(b, 1, 1, 1) * rows
    head = torch.arange(h, device=loc.device, dtype=torch.int32).view(1, 1, h, 1)
    index, coefficient, start = [], [], 0
    for level, (height, width) in enumerate(levels):
        x, y = (loc[:, :, :, level] * loc.new_tensor((width, height)) - 0.5).unbind(-1)
        x0, y0 = x.floor(), y.floor()
        right, below = x - x0, y - y0
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            column, row = x0 + dx, y0 + dy
            part = (right if dx else 1 - right) * (below if dy else 1 - below)
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            cell = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            index.append((image + start + cell.int()) * h + head)
            coefficient.append(torch.where(inside, part, 0.0))
        start += height * width
    shape = (*loc.shape[:3], len(levels), 4, loc.shape[4])
    corners = [
        torch.stack(parts, 3).reshape(shape).transpose(-1, -2) for parts in (index, coefficient)
    ]
    return corners[0], corners[1]


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
    source = (kept // index[0, 0, 0].numel()).to(torch.int32)
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
