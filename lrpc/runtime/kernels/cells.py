"""Sampling points by the cells of their maps: which four rows a point reads, and with what shares.

A point lies between four corners. They are found from the first of them, the upper left one, and
from how far past it the point lies on each axis. Near a border the first corner is moved inward,
so that all four are on the map: a point a cell or more past its second corner has no share in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.runtime.kernels.transposes import widened


def filled(like: Tensor, rows: Sequence[tuple[float, ...]]) -> Tensor:
    """A small table beside `like`, made there: a CUDA graph records no copy from the host."""
    return torch.stack([torch.stack([like.new_full((), x) for x in row]) for row in rows])


def deform_cells(loc: Tensor, levels: tuple[tuple[int, int], ...]) -> tuple[Tensor, Tensor]:
    """Value row of every point's first corner, i32[B, Q, H, L, P], and how many cells right of it
    and below it the point lies, [2, B, Q, H, L, P].

    loc [B, Q, H, L, P, 2] as (x, y) in [0, 1]; pixel centres lie at half-integers.
    """
    loc = widened(loc)
    b, _, h, count, points = loc.shape[:-1]
    sizes = [(width, height) for height, width in levels]
    starts = [sum(x * y for x, y in sizes[:level]) * h for level in range(count)]
    rows = [
        *zip(*sizes, strict=True),
        *zip(*[(max(x - 2, 0), max(y - 2, 0)) for x, y in sizes], strict=True),
        tuple(x * h for x, _ in sizes),
        tuple(starts),
    ]
    table = filled(loc.new_empty(0, dtype=torch.int32), rows)[:, None, None, None, :, None]
    table = table.expand(-1, 1, 1, h, -1, points).contiguous()  # as long runs as there are
    size, last, (line, start) = table[:2], table[2:4], table[4:]
    image = torch.arange(b, device=loc.device, dtype=torch.int32).view(b, 1, 1, 1, 1)
    head = torch.arange(h, device=loc.device, dtype=torch.int32).view(h, 1, 1)
    start = image * (sum(x * y for x, y in sizes) * h) + head + start
    place = loc.movedim(-1, 0).clone(memory_format=torch.contiguous_format).mul_(size).sub_(0.5)
    cell = place.int().clamp_(torch.zeros_like(last), last)
    first = (cell[1] * line).add_(cell[0], alpha=h).add_(start)
    return first, place.sub_(cell)


def deform_shares(past: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Shares of the first and second corner along an axis; past [..., L, N], a size per level."""
    near, far = past.abs().neg_().add_(1).relu_(), past.sub(1).abs_().neg_().add_(1).relu_()
    return near, deform_second(far, sizes)


def deform_slopes(past: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The slopes of `deform_shares`; at a kink those to its right."""
    cell = past.floor()
    near, far = ((cell == x - 1).to(past.dtype) - (cell == x).to(past.dtype) for x in (0, 1))
    return near, deform_second(far, sizes)


def deform_second(far: Tensor, sizes: Sequence[int]) -> Tensor:
    """`far` [..., L, N], with zeros where the size of a level leaves no second corner."""
    for level, size in enumerate(sizes):
        if size == 1:
            far[..., level, :].zero_()
    return far


def deform_corners(loc: Tensor, levels: tuple[tuple[int, int], ...]) -> tuple[Tensor, Tensor]:
    """Value row of every point's first corner, i32[B, Q, H, L, P], and the bilinear coefficients of
    its four corners, [B, Q, H, L, P, 4]: line by line; 0 outside the map."""
    first, past = deform_cells(loc, levels)
    columns = deform_shares(past[0], [width for _, width in levels])
    lines = deform_shares(past[1], [height for height, _ in levels])
    coefficient = past.new_empty(*first.shape, 4)
    for corner in range(4):
        coefficient[..., corner] = lines[corner // 2] * columns[corner % 2]
    return first, coefficient


def deform_rows(first: Tensor, levels: tuple[tuple[int, int], ...]) -> Tensor:
    """Value row of every corner, i32[..., H, L, P, 4]; each is one of the point's map."""
    return deform_stepped(first, deform_steps(first, levels))


def deform_steps(first: Tensor, levels: tuple[tuple[int, int], ...]) -> Tensor:
    """How many rows behind the first corner of a point each of its corners is: i32[H·L·P·4]."""
    h, _, points = first.shape[-3:]
    steps = []
    for height, width in levels:
        right, below = h * (width > 1), h * width * (height > 1)
        steps.append((0, right, below, below + right))
    return filled(first, steps).unsqueeze(1).expand(h, -1, points, -1).flatten()


def deform_stepped(first: Tensor, steps: Tensor) -> Tensor:
    """`deform_rows` of first corners [..., H, L, P], by the `deform_steps` of all queries."""
    index = first.unsqueeze(-1).expand(*first.shape, 4).contiguous()
    index.view(-1, steps.shape[0]).add_(steps)
    return index


def deform_sorted(
    first: Tensor,
    coefficient: Tensor,
    weight: Tensor,
    levels: tuple[tuple[int, int], ...],
    heads: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The points by the row of their first corner: where each row starts, i32[rows + 1]; which row
    of the output they belong to, i32[N]; the entries of their four corners, [4, N].

    Rows and outputs are of `heads` heads: all of them, or 1 where all heads share them. As every
    point is on its map, each image and level has equally many, one group after the other.
    """
    b, _, h, count, points = first.shape
    rows = b * heads * sum(height * width for height, width in levels)
    target, order = torch.sort((first if heads == h else first // h).flatten(), stable=True)
    offsets = torch._convert_indices_from_coo_to_csr(target, rows, out_int32=True)
    del target
    order = order.to(torch.int32)  # half the time of reading by int64
    entries = coefficient.new_empty(4, order.shape[0])
    for share, corner in zip(coefficient.unbind(-1), entries, strict=True):
        torch.index_select((share * weight).flatten(), 0, order, out=corner)
    source = order.div_(h // heads * count * points, rounding_mode="trunc")
    return offsets, source, entries


def deform_add(
    seeds: Tensor,
    offsets: Tensor,
    source: Tensor,
    entries: Tensor,
    levels: tuple[tuple[int, int], ...],
    heads: int,
) -> Tensor:
    """Σ of entries · seeds by row of the value: [K, B, S, heads, D] from seeds [K, N, D].

    Points that share a first corner add to the same four rows: each corner's sums make a map of
    their own, and the four maps are added, shifted by one cell each.
    """
    k, d = seeds.shape[0], seeds.shape[2]
    rows = heads * sum(height * width for height, width in levels)
    b = (offsets.shape[0] - 1) // rows
    count = source.shape[0] // (b * len(levels))
    wide, out = widened(seeds), seeds.new_empty(k, b, rows // heads, heads, d)
    entries, start = entries.to(wide.dtype), 0
    for part in range(b * len(levels)):
        (height, width), own = levels[part % len(levels)], slice(part * count, (part + 1) * count)
        cells = start // heads % out.shape[2]
        bounds = offsets[start : start + height * width * heads + 1] - part * count
        start += height * width * heads
        for seed, result in zip(wide, out, strict=True):
            given = (source[own], seed, bounds, (height, width, heads, d))
            total = deform_map(entries[0, own], *given)
            total[:, 1:] += deform_map(entries[1, own], *given)[:, :-1]
            total[1:] += deform_map(entries[2, own], *given)[:-1]
            total[1:, 1:] += deform_map(entries[3, own], *given)[:-1, :-1]
            result[part // len(levels), cells : cells + height * width] = total.flatten(0, 1)
    return out


def deform_map(
    entries: Tensor, source: Tensor, seed: Tensor, bounds: Tensor, shape: tuple[int, ...]
) -> Tensor:
    """Σ of entries · seed by row; those of row r are from bounds[r] to bounds[r + 1]."""
    return F.embedding_bag(
        source, seed, bounds, mode="sum", per_sample_weights=entries, include_last_offset=True
    ).view(shape)
