"""The sampling map of multi-scale deformable attention as a sparse matrix, and its transposes.

Row (b, q, h) of the map has one entry per level, point and corner: an index into the rows
(b, s, h) of the value and a coefficient. Corners outside a map have coefficient 0.

What follows from the forward pass alone is computed once per state: `kept` is a part of what the
state saves, `name` the sampling's name in it. On a GPU, Triton kernels do the same work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.runtime.kernels.cells import (
    deform_add,
    deform_cells,
    deform_corners,
    deform_rows,
    deform_shares,
    deform_slopes,
    deform_sorted,
    deform_stepped,
    deform_steps,
    filled,
)
from lrpc.runtime.kernels.transposes import narrowed, widened
from lrpc.runtime.kernels.triton_deformable import (
    triton_entries,
    triton_gather,
    triton_sample,
    triton_splat,
    triton_weights,
)
from lrpc.runtime.kernels.triton_support import has_triton


def once(kept: dict[str, Any] | None, name: str, make: Callable[[], Any]) -> Any:
    """kept[name], made where it is missing; without `kept`, made anew."""
    if kept is None:
        return make()
    if name not in kept:
        kept[name] = make()
    return kept[name]


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
    first, coefficient = once(kept, f"{name}.corners", lambda: deform_corners(loc, levels))
    index = deform_rows(first, levels).view(-1, coefficient[0, 0, 0].numel())
    entries, table = coefficient * weight.unsqueeze(-1), widened(value.reshape(-1, d))
    out = F.embedding_bag(
        index, table, mode="sum", per_sample_weights=entries.view(index.shape).to(table.dtype)
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
    seeds, key = g.reshape(k, b * q * h, -1), f"{name}.by_row"
    if not has_triton(g):

        def points() -> tuple[Tensor, Tensor, Tensor]:
            first, coefficient = once(kept, f"{name}.corners", lambda: deform_corners(loc, levels))
            return deform_sorted(first, coefficient, weight, levels, h)

        offsets, source, entries = once(kept, key, points)
        return deform_add(seeds, offsets, source, entries, levels, h)

    def corners() -> tuple[Tensor, Tensor, Tensor]:
        index, entries = triton_entries(loc, weight, level_sizes(levels), False)
        return deform_transposed(index, entries, b * q * h, rows)

    if few_seeds(k) and (kept is None or key not in kept):
        return triton_splat(g, loc, weight, level_sizes(levels))
    out = triton_gather(seeds, *once(kept, key, corners))
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
    seeds, key = g.reshape(k, b * q, -1), f"{name}.by_token"
    if not has_triton(g):

        def points() -> tuple[Tensor, Tensor, Tensor]:
            margin = 0.5 / filled(loc, [(x, y) for y, x in levels]).unsqueeze(1)
            first, coefficient = deform_corners(loc.clamp(margin, 1 - margin), levels)
            return deform_sorted(first, coefficient, weight / h, levels, 1)

        offsets, source, entries = once(kept, key, points)
        return deform_add(seeds, offsets, source, entries, levels, 1).squeeze(-2)

    def corners() -> tuple[Tensor, Tensor, Tensor]:
        index, entries = triton_entries(loc, weight, level_sizes(levels), True)
        return deform_transposed(index, entries, b * q, rows)

    out = triton_gather(seeds, *once(kept, key, corners))
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
    first, coefficient = once(kept, f"{name}.corners", lambda: deform_corners(loc, levels))
    (k, b, q), (h, d), points = g.shape[:3], value.shape[2:], loc[0, 0, 0, ..., 0].numel()
    table, out = widened(value.reshape(-1, d)), g.new_empty(k, b * q, *loc.shape[2:5])
    seeds, first = g.reshape(k, b * q, h, d), first.flatten(0, 1)
    entries, steps = coefficient.flatten(0, 1).to(table.dtype), deform_steps(first, levels)
    step = max(1, 2**20 // (h * points * d), b * q // 32)  # what a few sampled stays in a cache
    for i in range(0, b * q, step):
        own = slice(i, i + step)
        picked = F.embedding_bag(
            deform_stepped(first[own], steps).view(-1, 4), table, mode="sum",
            per_sample_weights=entries[own].view(-1, 4),
        ).view(-1, points, d)  # fmt: skip
        seed = seeds[:, own].reshape(k, -1, d).to(picked.dtype).transpose(0, 1)
        found = torch.bmm(seed, picked.transpose(1, 2)).transpose(0, 1)  # [K, N, L·P]
        out[:, own] = narrowed(found.reshape(k, -1, *loc.shape[2:5]), g.dtype)
    return out.view(k, *loc.shape[:-1])


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
    first, past = deform_cells(loc, levels)
    index = deform_rows(first, levels)
    corners = value.reshape(-1, d)[index.flatten().long()].reshape(b * q * h, -1, d)
    (x, dx), (y, dy) = (
        (deform_shares(axis, sizes), deform_slopes(axis, sizes))
        for axis, sizes in zip(past, ([x for _, x in levels], [y for y, _ in levels]), strict=True)
    )
    slopes = [
        torch.stack([line * column for line in lines for column in columns], -1)
        for lines, columns in ((y, dx), (dy, x))
    ]  # what each corner adds to the slope along x, along y
    sizes = filled(weight, [(width, height) for height, width in levels]).unsqueeze(1)  # [L, 1, 2]
    scaled = torch.stack(slopes, -2) * (weight.unsqueeze(-1) * sizes).unsqueeze(-1)
    products = torch.matmul(g.reshape(k, b * q * h, 1, d), corners.transpose(-1, -2))
    products = products.reshape(k, *index.shape)  # g · corner: [K, B, Q, H, L, P, 4]
    return narrowed((scaled * products.unsqueeze(-2)).sum(-1), loc.dtype)
