"""Sampling at a grid of places, and its transposes: torch's own kernels, in float32 at least."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.runtime.kernels.transposes import narrowed, widened


def grid_sample(x: Tensor, grid: Tensor, mode: str, padding: str, align_corners: bool) -> Tensor:
    """x [B, C, H, W] at grid [B, h, w, 2], or x [B, C, D, H, W] at grid [B, d, h, w, 3]."""
    grid = widened(grid)
    found = F.grid_sample(x.to(grid.dtype), grid, mode, padding, align_corners)
    return narrowed(found, x.dtype)


def grid_sample_transpose(
    g: Tensor, grid: Tensor, size: tuple[int, ...], mode: str, padding: str, align_corners: bool
) -> Tensor:
    """The transpose of `grid_sample` in x: [K, B, C, *size] from g [K, B, C, …].

    Seeds are channels here: they share the coefficients of a place.
    """
    (k, b, c), grid = g.shape[:3], widened(grid)
    rows = g.transpose(0, 1).reshape(b, k * c, *g.shape[3:]).to(grid.dtype)
    like = rows.new_zeros(()).expand(*rows.shape[:2], *size)
    back = grid_sample_gradients(rows, like, grid, mode, padding, align_corners, (True, False))[0]
    return narrowed(back.view(b, k, c, *size).transpose(0, 1), g.dtype)


def grid_sample_location_transpose(
    g: Tensor, x: Tensor, grid: Tensor, mode: str, padding: str, align_corners: bool
) -> Tensor:
    """The gradient of `grid_sample` in the grid: [K, *grid.shape] from g [K, B, C, …]."""
    wide = widened(grid)
    rows = g.reshape(-1, *g.shape[2:]).to(wide.dtype)
    images, places = (
        t.to(wide.dtype).expand(g.shape[0], *t.shape).reshape(-1, *t.shape[1:]) for t in (x, wide)
    )
    gradients = grid_sample_gradients(
        rows, images, places, mode, padding, align_corners, (False, True)
    )
    return narrowed(gradients[1].view(-1, *grid.shape), grid.dtype)


def grid_sample_gradients(
    g: Tensor,
    x: Tensor,
    grid: Tensor,
    mode: str,
    padding: str,
    align_corners: bool,
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor]:
    """torch's gradients in x and in the grid."""
    aten = torch.ops.aten
    back = aten.grid_sampler_2d_backward if x.dim() == 4 else aten.grid_sampler_3d_backward
    modes, paddings = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
    found: tuple[Tensor, Tensor] = back(
        g, x, grid, modes.index(mode), paddings.index(padding), align_corners, wanted
    )
    return found
