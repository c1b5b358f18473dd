"""The sampling map of multi-scale deformable attention as a sparse matrix, and its transposes.

Row (b, q, h) of the map has one entry per level, point and corner: an index into the rows
(b, s, h) of the value and a coefficient. Corners outside a map have coefficient 0.

What follows from the forward pass alone is computed once per state: `kept` is a part of what the
state saves, `name` the sampling's name in it. On a GPU, Triton kernels do the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.codegen.kernels.transposes import narrowed, widened
from lrpc.codegen.kernels.triton_deformable import (
    triton_entries,
    triton_gather,
    triton_sample,
    triton_splat,
    triton_weights,
)
from lrpc.codegen.kernels.triton_support import has_triton


def once(kept: dict[str, Any] | None, name: str, make: Callable[[], Any]) -> Any:
    """kept[name], made where it is missing; without `kept`, made anew."""
    if kept is None:
        return make()
    if name not in kept:
        kept[name] = make()
    return kept[name]


def deform_corners(loc: Tensor, levels: tuple[tuple[int, int], ...]) -> tuple[Tensor, Tensor]:
    """Value row and bilinear coefficient of every corner: both [B, Q, H, L, P, 4].

    loc [B, Q, H, L, P, 2] as (x, y) in [0, 1]; pixel centres lie at half-integers. A coefficient is
    the product of one factor per axis, 0 outside the map.
    """
    loc = loc.float() if loc.dtype in (torch.float16, torch.bfloat16) else loc
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
                index[:, :, :, level, :, 2 * j + i] = row + column * h
                coefficient[:, :, :, level, :, 2 * j + i] = below * right
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
    value: Tensor,
    loc: Tensor,
    weight: Tensor,
    levels: tuple[tuple[int, int], ...],
    kept: dict[str, Any] | None = None,
    name: str = "",
) -> Tensor:
    """Σ weight · bilinear(value at loc): [B, Q, H·D] from value [B, S, H, D]."""
    if has_triton(value):
        return triton_sample(value, loc, weight, level_sizes(levels))
    b, _, h, d = value.shape
    index, coefficient = once(kept, f"{name}.corners", lambda: deform_corners(loc, levels))
    entries = (coefficient * weight.unsqueeze(-1)).reshape(-1, index[0, 0, 0].numel())
    table = widened(value.reshape(-1, d))
    out = F.embedding_bag(
        index.reshape(entries.shape), table, mode="sum", per_sample_weights=entries.to(table.dtype)
    )
    return narrowed(out.reshape(b, -1, h * d), value.dtype)


def deform_splat(
    g: Tensor,
    loc: Tensor,
    weight: Tensor,
    levels: tuple[tuple[int, int], ...],
    kept: dict[str, Any] | None = None,
    name: str = "",
) -> Tensor:
    """The transpose of `deform_sample` in value: [K, B, S, H, D] from g [K, B, Q, H·D]."""
    k, b, q = g.shape[:3]
    h = loc.shape[2]
    rows = b * h * sum(height * width for height, width in levels)

    def make() -> tuple[Tensor, Tensor, Tensor]:
        if has_triton(g):
            index, entries = triton_entries(loc, weight, level_sizes(levels), False)
        else:
            index, coefficient = once(kept, f"{name}.corners", lambda: deform_corners(loc, levels))
            entries = coefficient * weight.unsqueeze(-1)
        return deform_transposed(index, entries, b * q * h, rows)

    key = f"{name}.by_row"
    if has_triton(g) and few_seeds(k) and (kept is None or key not in kept):
        return triton_splat(g, loc, weight, level_sizes(levels))
    out = deform_gather(g.reshape(k, b * q * h, -1), *once(kept, key, make))
    return out.reshape(k, b, -1, h, out.shape[-1])


def deform_spread(
    g: Tensor,
    loc: Tensor,
    weight: Tensor,
    levels: tuple[tuple[int, int], ...],
    kept: dict[str, Any] | None = None,
    name: str = "",
) -> Tensor:
    """(1/H) Σ g · weight · bilinear on every token: [K, B, S, C] from g [K, B, Q, C].

    Each head spreads all channels; locations outside a map are moved onto its border.
    """
    k, b, q = g.shape[:3]
    h = loc.shape[2]
    rows = b * sum(height * width for height, width in levels)

    def make() -> tuple[Tensor, Tensor, Tensor]:
        if has_triton(g):
            index, entries = triton_entries(loc, weight, level_sizes(levels), True)
        else:
            margin = 0.5 / filled(loc, [(x, y) for y, x in levels]).unsqueeze(1)
            index, coefficient = deform_corners(loc.clamp(margin, 1 - margin), levels)
            index, entries = index // h, coefficient * weight.unsqueeze(-1) / h
        return deform_transposed(index, entries, b * q, rows)

    out = deform_gather(g.reshape(k, b * q, -1), *once(kept, f"{name}.by_token", make))
    return out.reshape(k, b, -1, out.shape[-1])


def few_seeds(count: int) -> bool:
    """Whether adding with atomics beats sorting entries first: measured on an H200.

    One seed of 8 images: 1.31 ms against 2.36 for the sort and 0.83 for the gather; 8 seeds of one
    image: 1.33 against 0.41 and 0.78. Atomics add in any order, so not where results must repeat.
    """
    return count < 4 and not torch.are_deterministic_algorithms_enabled()


def level_sizes(levels: tuple[tuple[int, int], ...]) -> list[int]:
    """Heights and widths in turn, as operators take them."""
    return [size for level in levels for size in level]


def deform_transposed(
    index: Tensor, entries: Tensor, sources: int, rows: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The map's entries by row of the value: where each row starts, i32[rows + 1]; source, i32[N];
    entry, [N].

    Entries come `sources` times as many; those that are 0 follow the last row, where they belong
    to none.
    """
    flat = entries.flatten()
    target, order = torch.sort(torch.where(flat != 0, index.flatten(), rows), stable=True)
    bounds = torch.arange(rows + 1, device=index.device, dtype=target.dtype)
    offsets = torch.searchsorted(target, bounds, out_int32=True)
    return offsets, order.to(torch.int32) // (index.numel() // sources), flat.index_select(0, order)


def deform_gather(seeds: Tensor, offsets: Tensor, source: Tensor, entries: Tensor) -> Tensor:
    """Σ of entries · seeds by row of the value: [K, rows, D] from seeds [K, N, D]."""
    if has_triton(seeds):
        return triton_gather(seeds, offsets, source, entries)
    rows, wide = offsets.shape[0] - 1, widened(seeds)
    parts, out = entries.to(wide.dtype), seeds.new_empty(seeds.shape[0], rows, seeds.shape[2])
    for k, seed in enumerate(wide):  # one more row takes the entries that are 0
        bags = F.embedding_bag(source, seed, offsets, mode="sum", per_sample_weights=parts)
        out[k] = bags[:rows]
    return out


def deform_weight_transpose(
    g: Tensor,
    value: Tensor,
    loc: Tensor,
    levels: tuple[tuple[int, int], ...],
    kept: dict[str, Any] | None = None,
    name: str = "",
) -> Tensor:
    """The transpose of `deform_sample` in weight: [K, B, Q, H, L, P] from g [K, B, Q, H·D]."""
    if has_triton(g):
        return triton_weights(g, value, loc, level_sizes(levels))
    k, b, q = g.shape[:3]
    h, d = value.shape[2:]
    index, coefficient = once(kept, f"{name}.corners", lambda: deform_corners(loc, levels))
    points = loc[0, 0, 0, ..., 0].numel()
    table = widened(value.reshape(-1, d))
    picked = F.embedding_bag(
        index.reshape(-1, 4),
        table,
        mode="sum",
        per_sample_weights=coefficient.reshape(-1, 4).to(table.dtype),
    ).reshape(b * q * h, points, d)
    out = torch.bmm(picked, g.to(picked.dtype).reshape(k, b * q * h, d).permute(1, 2, 0))
    return narrowed(out.permute(2, 0, 1).reshape(k, *loc.shape[:-1]), g.dtype)


def deform_location_transpose(
    g: Tensor,
    value: Tensor,
    loc: Tensor,
    weight: Tensor,
    levels: tuple[tuple[int, int], ...],
    kept: dict[str, Any] | None = None,
    name: str = "",
) -> Tensor:
    """The gradient of `deform_sample` in loc at `loc`: [K, B, Q, H, L, P, 2] from g [K, B, Q, H·D].

    Bilinear interpolation between corners a b / c d at (x, y) has the slopes
    (1 - y)(b - a) + y (d - c) and (1 - x)(c - a) + x (d - b), per pixel.
    """
    k, b, q = g.shape[:3]
    h, d = value.shape[2:]
    index, coefficient = once(kept, f"{name}.corners", lambda: deform_corners(loc, levels))
    corners = value.reshape(-1, d)[index.flatten().long()].reshape(b * q * h, -1, d)
    sizes = filled(loc, [(width, height) for height, width in levels]).unsqueeze(1)  # [L, 1, 2]
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
    sizes = filled(corner, [(width, height) for height, width in levels]).unsqueeze(1)
    steps = filled(corner, [(0, 0), (1, 0), (0, 1), (1, 1)])
    places = corner.unsqueeze(-2) + steps
    found = (places >= 0) & (places < sizes.unsqueeze(-2))
    return found.all(-1).to(corner.dtype)


def filled(like: Tensor, rows: Sequence[tuple[float, ...]]) -> Tensor:
    """A small table beside `like`, made there: a CUDA graph records no copy from the host."""
    return torch.stack([torch.stack([like.new_full((), x) for x in row]) for row in rows])
