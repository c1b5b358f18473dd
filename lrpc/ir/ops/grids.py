"""Sampling of maps and volumes at a grid of places, as torch's grid_sample, and its transposes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.ir.ops.row import Op
from lrpc.ir.ops.traits import Family
from lrpc.ir.ops.traits import Trait as T
from lrpc.ir.ops.transposed import no_grad_transpose, seedwise

OPTIONS = {
    "mode": "bilinear|nearest|bicubic",
    "padding": "zeros|border|reflection",
    "align_corners": "bool",
}


def _grid_sample(
    value: Tensor, loc: Tensor, mode: str, padding: str, align_corners: bool
) -> Tensor:
    """value [B, C, H, W] at loc [B, h, w, 2], (x, y) in [-1, 1]; or one axis more of each, for
    which `bilinear` is trilinear. A narrower value is sampled in the type of the places."""
    wide = torch.promote_types(value.dtype, loc.dtype)
    found = F.grid_sample(value.to(wide), loc.to(wide), mode, padding, align_corners)
    return found.to(value.dtype)


def _to_value(
    g: Tensor, loc: Tensor, size: tuple[int, ...], mode: str, padding: str, align_corners: bool
) -> Tensor:
    like = torch.empty(*g.shape[1:3], *size, dtype=g.dtype, device=g.device)

    def sampled(x: Tensor) -> Tensor:
        return _grid_sample(x, loc, mode, padding, align_corners)

    return seedwise(g, lambda seed: no_grad_transpose(sampled, like, seed))


def _to_location(
    g: Tensor, value: Tensor, loc: Tensor, mode: str, padding: str, align_corners: bool
) -> Tensor:
    def back(seed: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = loc.detach().requires_grad_(True)
            out = _grid_sample(value, leaf, mode, padding, align_corners)
        return torch.autograd.grad(out, leaf, seed.expand_as(out))[0]

    return seedwise(g, back)


ROWS = (
    Op("grid_sample", 2, OPTIONS, _grid_sample, Family.SAMPLING, T.ALLOCATES,
       contracted=(0,), operands=("value", "locations")),
    Op("grid_sample_transpose", 2, {"size": "counts", **OPTIONS}, _to_value, Family.TRANSPOSE,
       T.ALLOCATES, contracted=(0,), operands=("g", "locations")),
    Op("grid_sample_location_transpose", 3, OPTIONS, _to_location, Family.TRANSPOSE, T.ALLOCATES,
       operands=("g", "value", "locations")),
)  # fmt: skip
