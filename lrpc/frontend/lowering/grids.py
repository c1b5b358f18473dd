"""Rows for sampling at a grid of places, and for the grids of affine maps."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from lrpc.frontend.lowering.context import Context, Operand
from lrpc.ir.extents import sizes_in
from lrpc.ir.types import DTYPES, whole

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")


def grid_sample(
    c: Context, input: Operand, grid: Operand, mode: str = "bilinear",
    padding_mode: str = "zeros", align_corners: bool | None = None,
) -> Operand:  # fmt: skip
    return c.op(
        "grid_sample", input, grid, mode=mode, padding=padding_mode,
        align_corners=bool(align_corners),
    )  # fmt: skip


def grid_sampler(
    c: Context, input: Operand, grid: Operand, interpolation_mode: int, padding_mode: int,
    align_corners: bool,
) -> Operand:  # fmt: skip
    mode, padding = MODES[interpolation_mode], PADDINGS[padding_mode]
    return grid_sample(c, input, grid, mode, padding, align_corners)


def affine_grid(
    c: Context, theta: Operand, size: Operand, align_corners: bool | None = None
) -> Operand:
    """Places of the identity, a row each with a 1 behind, times θᵀ."""
    kind, axes = c.type(theta), whole(c.type(theta).shape[1])
    places = tuple(c.fixed(n) for n in size[2:])
    if sizes_in(places):
        c.refuse(f"makes a grid of {places}, which varies", "compile for one size")
    still = torch.eye(axes, axes + 1, dtype=DTYPES[kind.dtype])[None]
    grid = F.affine_grid(still, [1, 1, *places], align_corners=bool(align_corners))
    rows = F.pad(grid.reshape(-1, axes), (0, 1), value=1.0)
    moved = c.op("matmul", c.constant(rows), c.permute(c.value(theta), (0, 2, 1)))
    return c.reshape(moved, (kind.shape[0], *places, axes))


ROWS: dict[str, Any] = {
    "grid_sample": grid_sample,
    **dict.fromkeys(("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), grid_sampler),
    "affine_grid": affine_grid,
}
