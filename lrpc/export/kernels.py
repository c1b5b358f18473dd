"""Kernels of programs in a form that torch.export traces once for all images and seeds: without
loops over them, without choices by their number, and in few operations.

Points lie between four corners, [..., 2, 2] by line and column. What follows from the locations
alone is computed once in a call: `kept` has it by the name of the locations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrpc.runtime.kernels import transposes
from lrpc.runtime.kernels.transposes import interpolate

Levels = tuple[tuple[int, int], ...]
Kept = dict[Any, Any]


class Corners(NamedTuple):
    """The row of the value at each corner, and the corner's shares along x and y; 0 outside."""

    row: Tensor  # [B, Q, H, L, P, 2, 2]
    along: Tensor  # [B, Q, H, L, P, 1, 2]
    down: Tensor  # [B, Q, H, L, P, 2, 1]
    slopes: tuple[Tensor, Tensor]  # of `along` and `down`
    size: Tensor  # [L, 1, 2]: width and height


def softmax_along(x: Tensor, dim: int) -> Tensor:
    """softmax(x), however short the axis is."""
    return x.softmax(dim)


def _once(kept: Kept, key: Any, make: Callable[[], Any]) -> Any:
    if key not in kept:
        kept[key] = make()
    return kept[key]


def _sizes(like: Tensor, levels: Levels) -> tuple[Tensor, Tensor]:
    """Width and height of each level, [L, 1, 2], and the row where each begins, [L, 1, 1, 1]."""
    rows, starts = [], [0]
    for height, width in levels:
        rows += [like.new_full((1,), width), like.new_full((1,), height)]
        starts.append(starts[-1] + height * width)
    begin = [like.new_full((1,), start, dtype=torch.int64) for start in starts[:-1]]
    return torch.cat(rows).view(-1, 1, 2), torch.cat(begin).view(-1, 1, 1, 1)


def _corners(loc: Tensor, levels: Levels, kept: Kept, name: str, border: bool = False) -> Corners:
    size, begin = _once(kept, ("sizes", str(levels)), lambda: _sizes(loc, levels))

    def make() -> Corners:
        place = loc * size - 0.5
        if border:
            place = place.clamp_min(0).minimum(size - 1)
        first = place.floor()
        past = (place - first).unsqueeze(-1)
        both = torch.arange(2, device=loc.device, dtype=loc.dtype)
        corner, last = first.unsqueeze(-1) + both, (size - 1).unsqueeze(-1)  # [..., xy, corner]
        inside = ((corner >= 0) & (corner <= last)).to(loc.dtype)
        share, slope = inside * (1 - both + (2 * both - 1) * past), inside * (2 * both - 1)
        cell = corner.clamp_min(0).minimum(last).long()
        width = size[..., :1].unsqueeze(-1).long()
        row = cell[..., 1, :].unsqueeze(-1) * width + cell[..., 0, :].unsqueeze(-2) + begin
        (along, down), (right, below) = (
            (x[..., 0, :].unsqueeze(-2), x[..., 1, :].unsqueeze(-1)) for x in (share, slope)
        )
        return Corners(row, along, down, (right, below), size)

    found: Corners = _once(kept, ("corners", name, str(levels), border), make)
    return found


def _rows(corners: Corners, tokens: int, heads: int) -> Tensor:
    """The row of each corner in a value flattened to [B · S · heads, D]."""
    row = corners.row
    image = torch.arange(row.shape[0], device=row.device).view(-1, 1, 1, 1, 1, 1, 1)
    row = row + image * tokens
    if heads == 1:
        return row
    return row * heads + torch.arange(heads, device=row.device).view(-1, 1, 1, 1, 1)


def _picked(value: Tensor, corners: Corners) -> Tensor:
    """The value at every corner, [B, Q, H, L, P, 2, 2, D]."""
    return value.flatten(0, 2)[_rows(corners, value.shape[1], value.shape[2])]


def deform_sample(
    value: Tensor, loc: Tensor, weight: Tensor, levels: Levels, kept: Kept, name: str
) -> Tensor:
    """Σ weight · bilinear(value at loc): [B, Q, H·D]."""
    corners = _corners(loc, levels, kept, name)
    entries = corners.down * corners.along * weight[..., None, None]
    sampled = _picked(value, corners) * entries.unsqueeze(-1)
    return sampled.flatten(3, 6).sum(3).flatten(2)


def _scattered(parts: Tensor, rows: Tensor, count: int) -> Tensor:
    """parts [K, *rows.shape, D], added by row: [K, count, D]."""
    zeros = parts.new_zeros(parts.shape[0], count, parts.shape[-1])
    return zeros.index_add(1, rows.flatten(), parts.flatten(1, -2))


def deform_splat(
    g: Tensor, loc: Tensor, weight: Tensor, levels: Levels, kept: Kept, name: str
) -> Tensor:
    """The transpose of `deform_sample` in value: [K, B, S, H, D]."""
    corners, heads = _corners(loc, levels, kept, name), loc.shape[2]
    tokens = sum(height * width for height, width in levels)
    entries = corners.down * corners.along * weight[..., None, None]
    seeds = torch.unflatten(g, -1, (heads, -1))[..., None, None, None, None, :]  # beside L, P, 2, 2
    rows = _rows(corners, tokens, heads)
    out = _scattered(seeds * entries.unsqueeze(-1), rows, g.shape[1] * tokens * heads)
    return out.view(g.shape[0], g.shape[1], tokens, heads, -1)


def deform_spread(
    g: Tensor, loc: Tensor, weight: Tensor, levels: Levels, kept: Kept, name: str
) -> Tensor:
    """The same of all channels with each head, the mean over heads, moved onto the border."""
    corners = _corners(loc, levels, kept, name, border=True)
    tokens = sum(height * width for height, width in levels)
    entries = corners.down * corners.along * weight[..., None, None] / loc.shape[2]
    seeds = g[:, :, :, None, None, None, None, None]  # beside H, L, P, 2, 2
    rows = _rows(corners, tokens, 1)
    out = _scattered(seeds * entries.unsqueeze(-1), rows, g.shape[1] * tokens)
    return out.view(g.shape[0], g.shape[1], tokens, -1)


def _products(g: Tensor, picked: Tensor) -> Tensor:
    """g · picked for every head: [K, B, Q, H, …] from picked [B, Q, H, …, D]."""
    seeds = torch.unflatten(g, -1, (picked.shape[2], -1)).unsqueeze(-1)  # [K, B, Q, H, D, 1]
    flat = torch.matmul(picked.flatten(3, -2), seeds).squeeze(-1)
    return torch.unflatten(flat, -1, picked.shape[3:-1])


def deform_weight_transpose(
    g: Tensor, value: Tensor, loc: Tensor, levels: Levels, kept: Kept, name: str
) -> Tensor:
    """The transpose of `deform_sample` in weight: [K, B, Q, H, L, P]."""
    corners = _corners(loc, levels, kept, name)
    entries = (corners.down * corners.along).unsqueeze(-1)
    return _products(g, (_picked(value, corners) * entries).sum((5, 6)))


def deform_location_transpose(
    g: Tensor,
    value: Tensor,
    loc: Tensor,
    weight: Tensor,
    levels: Levels,
    kept: Kept,
    name: str,
) -> Tensor:
    """The derivative of `deform_sample` by the locations: [K, B, Q, H, L, P, 2]."""
    corners = _corners(loc, levels, kept, name)
    right, below = corners.slopes
    products = _products(g, _picked(value, corners))
    slopes = torch.stack((corners.down * right, below * corners.along), -1)
    found = (products.unsqueeze(-1) * slopes).sum((-2, -3))
    return found * weight.unsqueeze(-1) * corners.size


def interpolate_transpose(
    g: Tensor, source: tuple[int, ...], mode: str, align_corners: bool
) -> Tensor:
    """The transpose of `interpolate` from maps of size `source`: torch's own takes no symbols."""

    def matrix(length: int, size: int) -> Tensor:
        """What resizes an axis, [length, size]: the maps of one line each."""
        eye = torch.eye(length, dtype=g.dtype, device=g.device).view(1, length, length, 1)
        return interpolate(eye, (size, 1), mode, align_corners).view(length, size)

    lines, columns = (matrix(n, m) for n, m in zip(source, g.shape[-2:], strict=True))
    return lines @ g @ columns.transpose(0, 1)


def avg_pool2d(x: Tensor, kernel: tuple[int, ...], *window: Any) -> Tensor:
    """Averages of windows; those whose length is a symbol lie side by side."""
    if not _symbolic(kernel):
        return transposes.avg_pool2d(x, kernel, *window)
    apart = torch.unflatten(torch.unflatten(x, -1, (-1, kernel[1])), -3, (-1, kernel[0]))
    return apart.mean((-3, -1))


def avg_pool2d_transpose(
    g: Tensor, size: tuple[int, ...], kernel: tuple[int, ...], *window: Any
) -> Tensor:
    """The transpose of `avg_pool2d`; size is (C, H, W) of its input."""
    if not _symbolic(kernel):
        return transposes.avg_pool2d_transpose(g, size, kernel, *window)
    share = (g / (kernel[0] * kernel[1]))[..., None, :, None]
    wide = share.expand(*g.shape[:-1], kernel[0], g.shape[-1], kernel[1])
    return wide.reshape(g.shape[0], *size)


def _symbolic(sizes: tuple[int, ...]) -> bool:
    """Whether a trace has symbols for these sizes."""
    return any(isinstance(size, torch.SymInt) for size in sizes)


KERNELS: dict[str, Callable[..., Tensor]] = {
    function.__name__: function
    for function in (
        *(softmax_along, deform_sample, deform_splat, deform_spread),
        *(deform_weight_transpose, deform_location_transpose),
        *(interpolate_transpose, avg_pool2d, avg_pool2d_transpose),
    )
}
