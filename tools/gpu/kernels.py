"""Every Triton kernel against the reference semantics of the operation that it serves.

On a GPU they are compiled; elsewhere triton interprets them, which it must be told before its
import (TRITON_INTERPRET=1).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lrpc.ir.ops import TABLE
from lrpc.runtime.kernels import deformable, triton_deformable, triton_ratios
from lrpc.runtime.kernels.ratios import stab_ratio
from tools.gpu.clock import Clock
from tools.gpu.records import Records, SkippedError

Levels = tuple[tuple[int, int], ...]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MAPS: tuple[Levels, ...] = (
    ((4, 6),),
    ((1, 5), (3, 1)),
    ((5, 3), (1, 1), (2, 2)),
    ((6, 5), (3, 4), (2, 2), (1, 3)),
)
#: The largest difference, relative to the largest number of the result.
LIMITS = {torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float16: 3e-3}
LARGE: Levels = ((100, 100), (50, 50), (25, 25))
LARGE_LIMIT = 1e-4  # places on a map of 100 cells are rounded to 1e-5 of a cell


@dataclass(frozen=True)
class Map:
    """A sampling map with what it samples and what its transpose takes."""

    g: Tensor  # [K, B, Q, H·D]
    value: Tensor  # [B, S, H, D]
    loc: Tensor  # [B, Q, H, L, P, 2]
    weight: Tensor  # [B, Q, H, L, P]
    levels: Levels

    @property
    def sizes(self) -> list[int]:
        return deformable.level_sizes(self.levels)

    def to(self, dtype: torch.dtype) -> Map:
        tensors = (self.g, self.value, self.loc, self.weight)
        return Map(*(t.to(dtype) for t in tensors), self.levels)

    def scattered(self) -> Map:
        """The same values, stored back to front."""

        def turn(t: Tensor) -> Tensor:
            axes = tuple(reversed(range(t.dim())))
            return t.permute(axes).contiguous().permute(axes)

        return Map(*(turn(t) for t in (self.g, self.value, self.loc, self.weight)), self.levels)


def drawn(
    levels: Levels, k: int = 1, b: int = 1, q: int = 3, h: int = 2, d: int = 16, p: int = 2
) -> Map:
    """Locations inside, outside, far outside, and on borders and pixel centres."""
    generator = torch.Generator().manual_seed(k + 10 * d + 100 * len(levels))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    count = len(levels)
    loc = torch.rand(b, q, h, count, p, 2, generator=generator) * 1.6 - 0.3
    for i, special in enumerate((0.0, 1.0, 0.5, 0.25, -4.0, 1e4, -1e4)):
        loc.view(-1)[i::17] = special
    weight = normal(b, q, h, count, p)
    weight.view(-1)[::7] = 0.0
    rows = sum(y * x for y, x in levels)
    tensors = (normal(k, b, q, h * d), normal(b, rows, h, d), loc, weight)
    return Map(*(t.to(DEVICE) for t in tensors), levels)


def transposed(m: Map, spread: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The map's entries by row of the value, by the kernel that finds them."""
    b, q, h = m.loc.shape[:3]
    rows = b * sum(y * x for y, x in m.levels)
    index, entry = triton_deformable.triton_entries(m.loc, m.weight, m.sizes, spread)
    many = (b * q, rows) if spread else (b * q * h, rows * h)
    return deformable.deform_transposed(index, entry, *many)


def compared(m: Map) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each kernel, its result, and that of the reference semantics in float64."""
    wide = m.to(torch.float64)
    k, b, q = m.g.shape[:3]
    h = m.loc.shape[2]
    found: Tensor = triton_deformable.triton_sample(m.value, m.loc, m.weight, m.sizes)
    exact = TABLE["deform_sample"].reference(wide.value, wide.loc, wide.weight, levels=m.levels)
    yield "sample", found, exact
    exact = TABLE["deform_splat"].reference(wide.g, wide.loc, wide.weight, levels=m.levels)
    yield "splat", triton_deformable.triton_splat(m.g, m.loc, m.weight, m.sizes), exact
    rows = m.g.reshape(k, b * q * h, -1)
    gathered = triton_deformable.triton_gather(rows, *transposed(m, False))
    yield "entries and gather", gathered.reshape(exact.shape), exact
    exact = TABLE["deform_spread"].reference(wide.g, wide.loc, wide.weight, levels=m.levels)
    gathered = triton_deformable.triton_gather(m.g.reshape(k, b * q, -1), *transposed(m, True))
    yield "entries and gather, spread", gathered.reshape(exact.shape), exact
    exact = TABLE["deform_weight_transpose"].reference(
        wide.g, wide.value, wide.loc, levels=m.levels
    )
    yield "weights", triton_deformable.triton_weights(m.g, m.value, m.loc, m.sizes), exact


def stabilised(dtype: torch.dtype, shape: tuple[int, ...], seeds: int) -> tuple[Tensor, Tensor]:
    """The kernel of stabilised ratios and float64, at 0 and at infinity too."""
    generator = torch.Generator().manual_seed(seeds)
    z = 1e-2 * torch.randn(shape, generator=generator)
    z.view(-1)[:1], z.view(-1)[1:2] = 0.0, -float("inf")
    g = torch.randn(seeds, *shape, generator=generator)
    z, g = z.to(DEVICE, dtype), g.to(DEVICE, dtype)
    wanted = g.double() * stab_ratio(z.double(), 1e-2)
    return triton_ratios.triton_stab_mul(g, z, 1e-2, torch.empty_like(g)), wanted


def difference(found: Tensor, exact: Tensor) -> float:
    """The largest difference, relative to the largest number of `exact`."""
    return float((found.double() - exact).abs().max() / exact.abs().max())


def maps(tiny: bool) -> Iterator[tuple[str, Map]]:
    """Small maps of several kinds; on a GPU the sizes of a model too."""
    if tiny:
        yield "tiny", drawn(MAPS[1], k=2)
        return
    yield "13,125 queries", drawn(LARGE, k=2, b=2, q=13_125, h=8, d=32, p=4)
    yield "two levels", drawn(MAPS[1], k=4, b=2)
    yield "four levels, three seeds", drawn(MAPS[3], k=3, b=2)
    yield "24 channels, 19 queries", drawn(MAPS[1], k=2, q=19, d=24)
    yield "stored back to front", drawn(MAPS[1], k=2, b=2, h=3).scattered()
    yield "one row", drawn(((1, 1),), q=35, h=1, p=4)


def run(records: Records, tiny: bool, clock: Clock) -> None:
    """Record the largest difference of every kernel on every map, in every precision."""
    try:
        importlib.import_module("triton.language")
    except ImportError as error:
        raise SkippedError(f"triton cannot be imported: {error}") from None
    for dtype in tuple(LIMITS)[: 1 if tiny else None]:
        short = str(dtype).removeprefix("torch.")
        for shape in ((3, 5), (2, triton_ratios.SEGMENT + 1)):
            what = f"stabilised ratio: {list(shape)}, {short}"
            with records.checking(what), clock.one("ratio"):
                error_ = difference(*stabilised(dtype, shape, 3))
                records.limited(what, error_, LIMITS[dtype], "error")
        for name, m in maps(tiny):
            with records.checking(f"{name}, {short}"), clock.one("map"):
                limit = max(LIMITS[dtype], LARGE_LIMIT if m.levels == LARGE else 0.0)
                for kernel, found, exact in compared(m.to(dtype)):
                    what = f"{kernel}: {name}, {short}"
                    records.limited(what, difference(found, exact), limit, "error")
