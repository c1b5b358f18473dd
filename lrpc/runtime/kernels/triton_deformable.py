"""Triton kernels of the sampling map: forward, entries, the two forms of its transpose, weights.

They take float32, bfloat16 or float16 tensors, strided as they come, and sum in float32. Offsets
are 64 bits wide: all seeds together may have more than 2³¹ entries, a single one may not. Without
triton this module imports all the same; `deformable.py` asks `has_triton` first. Each call is an
operator of torch's own, which torch.compile takes whole.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from lrpc.runtime.kernels.triton_support import jit, operator

try:
    import triton.language as tl
except ImportError:
    tl = None

QUERIES = 16  # of one program of the kernels that walk over queries


@cache
def level_table(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Height, width and first row of every level, from heights and widths in turn: i32[L, 3]."""
    rows, first = [], 0
    for height, width in zip(sizes[::2], sizes[1::2], strict=True):
        rows.append((height, width, first))
        first += height * width
    return torch.tensor(rows, dtype=torch.int32, device=device)


def power(size: int) -> int:
    """The smallest power of two from `size` on."""
    return 1 << (size - 1).bit_length()


@jit
def point(loc, weight, i, inside, height, width, BORDER: tl.constexpr, WEIGHTED: tl.constexpr):
    """Upper left cell of points `i`, how far right and below of it they lie, their weight."""
    x = tl.load(loc + 2 * i, inside, 0.0).to(tl.float32)
    y = tl.load(loc + 2 * i + 1, inside, 0.0).to(tl.float32)
    x, y = x * width - 0.5, y * height - 0.5
    if BORDER:
        x, y = tl.clamp(x, 0.0, width - 1.0), tl.clamp(y, 0.0, height - 1.0)
    x = tl.clamp(x, -2.0, width + 1.0)  # far outside is as good as outside
    y = tl.clamp(y, -2.0, height + 1.0)
    left, top = tl.floor(x), tl.floor(y)
    share = tl.full(x.shape, 1.0, tl.float32)
    if WEIGHTED:
        share = tl.load(weight + i, inside, 0.0).to(tl.float32)
    return left.to(tl.int32), top.to(tl.int32), x - left, y - top, share


@jit
def corner(left, top, right, below, height, width, C: tl.constexpr):
    """Column, line and coefficient of corner `C`, and whether it lies in the map."""
    x, y = left + C % 2, top + C // 2
    across = right if C % 2 else 1 - right
    down = below if C // 2 else 1 - below
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return x, y, across * down, within


@jit
def sample_kernel(
    value, loc, weight, out, levels, Q, S, D,
    H: tl.constexpr, L: tl.constexpr, P: tl.constexpr, BQ: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """out[b, q, h] = Σ weight · bilinear(value); one program per (BQ queries, head, image)."""
    q, h, b = tl.program_id(0) * BQ + tl.arange(0, BQ), tl.program_id(1), tl.program_id(2)
    d, inside = tl.arange(0, BD), q < Q
    b = b.to(tl.int64)
    row = (b * Q + q) * H + h
    total = tl.zeros((BQ, BD), tl.float32)
    for level in range(L):
        height, width = tl.load(levels + 3 * level), tl.load(levels + 3 * level + 1)
        first = b * S + tl.load(levels + 3 * level + 2)
        for p in range(P):
            i = row * (L * P) + level * P + p
            left, top, right, below, share = point(
                loc, weight, i, inside, height, width, False, True
            )
            for c in tl.static_range(4):
                x, y, part, within = corner(left, top, right, below, height, width, c)
                at = ((first + y * width + x) * H + h)[:, None] * D + d[None]
                known = (inside & within)[:, None] & (d < D)[None]
                total += tl.load(value + at, known, 0.0).to(tl.float32) * (part * share)[:, None]
    at = row[:, None] * D + d[None]
    tl.store(out + at, total.to(out.dtype.element_ty), inside[:, None] & (d < D)[None])


@jit
def splat_kernel(
    g, loc, weight, out, levels, B, Q, S, D, K,
    H: tl.constexpr, L: tl.constexpr, P: tl.constexpr, BQ: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """out[k] += the transpose of the map at g[k], by atomics; programs as in `sample_kernel`."""
    q, h, b = tl.program_id(0) * BQ + tl.arange(0, BQ), tl.program_id(1), tl.program_id(2)
    d, inside = tl.arange(0, BD), q < Q
    b = b.to(tl.int64)
    row = (b * Q + q) * H + h
    for level in range(L):
        height, width = tl.load(levels + 3 * level), tl.load(levels + 3 * level + 1)
        first = b * S + tl.load(levels + 3 * level + 2)
        for p in range(P):
            i = row * (L * P) + level * P + p
            left, top, right, below, share = point(
                loc, weight, i, inside, height, width, False, True
            )
            for c in tl.static_range(4):
                x, y, part, within = corner(left, top, right, below, height, width, c)
                to = ((first + y * width + x) * H + h)[:, None] * D + d[None]
                known = (inside & within)[:, None] & (d < D)[None]
                at = row[:, None] * D + d[None]
                for _ in range(K):
                    seed = tl.load(g + at, inside[:, None] & (d < D)[None], 0.0).to(tl.float32)
                    more = seed * (part * share)[:, None]
                    tl.atomic_add(out + to, more, known, sem="relaxed")
                    at += B * Q * H * D
                    to += B * S * H * D


@jit
def entries_kernel(
    loc, weight, index, entry, levels, N, Q, S, BORDER: tl.constexpr,
    H: tl.constexpr, L: tl.constexpr, P: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Row of the value and entry of every corner; the row behind the last where the entry is 0.

    With BORDER rows are tokens, points lie on their map's border at most, and heads share alike.
    """
    i = tl.program_id(0).to(tl.int64) * BN + tl.arange(0, BN)
    inside = i < N
    level, h, b = i // P % L, i // (P * L) % H, i // (P * L * H) // Q
    height = tl.load(levels + 3 * level, inside, 1)
    width = tl.load(levels + 3 * level + 1, inside, 1)
    first = b * S + tl.load(levels + 3 * level + 2, inside, 0)
    left, top, right, below, share = point(loc, weight, i, inside, height, width, BORDER, True)
    last = N // (Q * P * L) * S  # B·S·H
    if BORDER:
        last = last // H
        share = share / H
    for c in tl.static_range(4):
        x, y, part, within = corner(left, top, right, below, height, width, c)
        part = tl.where(within, part * share, 0.0)
        token = first + y * width + x
        row = token if BORDER else token * H + h
        row = tl.where(part != 0.0, row, last)
        tl.store(index + 4 * i + c, row.to(tl.int32), inside)
        tl.store(entry + 4 * i + c, part, inside)


@jit
def gather_kernel(g, offsets, source, part, out, rows, N, D, BE: tl.constexpr, BD: tl.constexpr):
    """out[k, r] = Σ part · g[k, source] over the entries of row r; one warp per (row, seed)."""
    r, k = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    d = tl.arange(0, BD)
    first, last = tl.load(offsets + r), tl.load(offsets + r + 1)
    total = tl.zeros((BD,), tl.float32)
    for i in range(first, last, BE):
        j = i + tl.arange(0, BE)
        inside = j < last
        at = (k * N + tl.load(source + j, inside, 0))[:, None] * D + d[None]
        seed = tl.load(g + at, inside[:, None] & (d < D)[None], 0.0).to(tl.float32)
        total += tl.sum(seed * tl.load(part + j, inside, 0.0)[:, None], 0)
    tl.store(out + (k * rows + r) * D + d, total.to(out.dtype.element_ty), d < D)


@jit
def weights_kernel(
    g, value, loc, out, levels, B, Q, S, D, K,
    H: tl.constexpr, L: tl.constexpr, P: tl.constexpr, BQ: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """out[k, b, q, h, l, p] = g[k, b, q, h] · bilinear(value); programs as in `sample_kernel`."""
    q, h, b = tl.program_id(0) * BQ + tl.arange(0, BQ), tl.program_id(1), tl.program_id(2)
    d, inside = tl.arange(0, BD), q < Q
    b = b.to(tl.int64)
    row = (b * Q + q) * H + h
    for level in range(L):
        height, width = tl.load(levels + 3 * level), tl.load(levels + 3 * level + 1)
        first = b * S + tl.load(levels + 3 * level + 2)
        for p in range(P):
            i = row * (L * P) + level * P + p
            left, top, right, below, _ = point(loc, loc, i, inside, height, width, False, False)
            found = tl.zeros((BQ, BD), tl.float32)
            for c in tl.static_range(4):
                x, y, part, within = corner(left, top, right, below, height, width, c)
                at = ((first + y * width + x) * H + h)[:, None] * D + d[None]
                known = (inside & within)[:, None] & (d < D)[None]
                found += tl.load(value + at, known, 0.0).to(tl.float32) * part[:, None]
            at = row[:, None] * D + d[None]
            for _ in range(K):
                seed = tl.load(g + at, inside[:, None] & (d < D)[None], 0.0).to(tl.float32)
                tl.store(out + i, tl.sum(seed * found, 1).to(out.dtype.element_ty), inside)
                at += B * Q * H * D
                i += B * Q * H * (L * P)


def sample_like(value: Tensor, loc: Tensor, weight: Tensor, sizes: list[int]) -> Tensor:
    return value.new_empty(value.shape[0], loc.shape[1], value.shape[2] * value.shape[3])


@operator(sample_like)
def triton_sample(value: Tensor, loc: Tensor, weight: Tensor, sizes: list[int]) -> Tensor:
    """Σ weight · bilinear(value at loc): [B, Q, H·D]."""
    value, loc, weight = value.contiguous(), loc.contiguous(), weight.contiguous()
    (b, s, h, d), q, (levels, points) = value.shape, loc.shape[1], loc.shape[3:5]
    out = sample_like(value, loc, weight, sizes)
    table = level_table(tuple(sizes), value.device)
    sample_kernel[(-(-q // QUERIES), h, b)](
        value, loc, weight, out, table, q, s, d, h, levels, points, QUERIES, power(d)
    )
    return out


def splat_like(g: Tensor, loc: Tensor, weight: Tensor, sizes: list[int]) -> Tensor:
    k, b, h = g.shape[0], g.shape[1], loc.shape[2]
    rows = sum(y * x for y, x in zip(sizes[::2], sizes[1::2], strict=True))
    return g.new_empty(k, b, rows, h, g.shape[3] // h)


@operator(splat_like)
def triton_splat(g: Tensor, loc: Tensor, weight: Tensor, sizes: list[int]) -> Tensor:
    """The transpose of the map at g, by atomics: [K, B, S, H, D] from g [K, B, Q, H·D]."""
    g, loc, weight = g.contiguous(), loc.contiguous(), weight.contiguous()
    k, b, q, h, levels, points = *g.shape[:3], *loc.shape[2:5]
    out = splat_like(g, loc, weight, sizes).to(torch.float32).zero_()
    s, d = out.shape[2], out.shape[4]
    table = level_table(tuple(sizes), g.device)
    splat_kernel[(-(-q // QUERIES), h, b)](
        g, loc, weight, out, table, b, q, s, d, k, h, levels, points, QUERIES, power(d)
    )
    return out.to(g.dtype)


def entries_like(
    loc: Tensor, weight: Tensor, sizes: list[int], spread: bool
) -> tuple[Tensor, Tensor]:
    shape = (*loc.shape[:-1], 4)
    entry = loc.new_empty(shape, dtype=torch.float32)
    return loc.new_empty(shape, dtype=torch.int32), entry


@operator(entries_like)
def triton_entries(
    loc: Tensor, weight: Tensor, sizes: list[int], spread: bool
) -> tuple[Tensor, Tensor]:
    """Row and entry of every corner, [B, Q, H, L, P, 4]; `spread` as `deform_spread` has them.

    Where the entry is 0 the row is the number of rows.
    """
    loc, weight = loc.contiguous(), weight.contiguous()
    _, q, h, levels, points = loc.shape[:5]
    index, entry = entries_like(loc, weight, sizes, spread)
    rows = sum(y * x for y, x in zip(sizes[::2], sizes[1::2], strict=True))
    table, count = level_table(tuple(sizes), loc.device), weight.numel()
    entries_kernel[(-(-count // 256),)](
        loc, weight, index, entry, table, count, q, rows, spread, h, levels, points, 256
    )
    return index, entry


def gather_like(g: Tensor, offsets: Tensor, source: Tensor, part: Tensor) -> Tensor:
    return g.new_empty(g.shape[0], offsets.shape[0] - 1, g.shape[2])


@operator(gather_like)
def triton_gather(g: Tensor, offsets: Tensor, source: Tensor, part: Tensor) -> Tensor:
    """Σ of part · g at `source` for every row: [K, rows, D] from g [K, N, D]."""
    g = g.contiguous()
    (k, count, d), rows = g.shape, offsets.shape[0] - 1
    out, wide = gather_like(g, offsets, source, part), power(d)
    gather_kernel[(rows, k)](
        g, offsets, source, part, out, rows, count, d, max(4, 1024 // wide), wide, num_warps=1
    )
    return out


def weights_like(g: Tensor, value: Tensor, loc: Tensor, sizes: list[int]) -> Tensor:
    return g.new_empty(g.shape[0], *loc.shape[:-1])


@operator(weights_like)
def triton_weights(g: Tensor, value: Tensor, loc: Tensor, sizes: list[int]) -> Tensor:
    """The transpose of the map in weight: [K, B, Q, H, L, P] from g [K, B, Q, H·D]."""
    g, value, loc = g.contiguous(), value.contiguous(), loc.contiguous()
    (b, s, h, d), q, (levels, points) = value.shape, loc.shape[1], loc.shape[3:5]
    out = weights_like(g, value, loc, sizes)
    table = level_table(tuple(sizes), g.device)
    weights_kernel[(-(-q // QUERIES), h, b)](
        g, value, loc, out, table, b, q, s, d, g.shape[0], h, levels, points, QUERIES, power(d)
    )
    return out
