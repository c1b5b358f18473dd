"""Multi-scale deformable attention: the sampling map, its transposes, the unexpanded module.

Reference semantics go through grid_sample, one level at a time; programs carry faster kernels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.ir.ops.row import Op
from lrpc.ir.ops.traits import Family
from lrpc.ir.ops.traits import Trait as T
from lrpc.ir.ops.transposed import no_grad_transpose, seedwise

Levels = tuple[tuple[int, int], ...]


def deform_sample(
    value: Tensor, loc: Tensor, weight: Tensor, levels: Levels, outside: str = "zeros"
) -> Tensor:
    """Σ over levels and points of weight · bilinear(value at loc), zeros outside each map.

    With `outside="border"` a location outside a map samples the nearest place on its border.

    value [B, S, H, D]; loc [B, Q, H, L, P, 2] as (x, y) in [0, 1]; weight [B, Q, H, L, P];
    the result is [B, Q, H·D]. A narrower value is summed in the type of the locations.
    Deformable DETR, equation 3 (arXiv 2010.04159).
    """
    if value.dtype != loc.dtype:
        wide = torch.promote_types(value.dtype, loc.dtype)
        found = deform_sample(value.to(wide), loc.to(wide), weight.to(wide), levels, outside)
        return found.to(value.dtype)
    batch, _, heads, width = value.shape
    queries, points = loc.shape[1], loc.shape[4]
    grids = (2 * loc - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)  # [L, B·H, Q, P, 2]
    total = torch.zeros((), dtype=value.dtype, device=value.device)
    for level, part in enumerate(value.split_with_sizes([h * w for h, w in levels], 1)):
        plane = part.permute(0, 2, 3, 1).reshape(batch * heads, width, *levels[level])
        picked = F.grid_sample(plane, grids[level], "bilinear", outside, align_corners=False)
        scale = weight[:, :, :, level].transpose(1, 2).reshape(batch * heads, 1, queries, points)
        total = total + (picked * scale).sum(-1)  # [B·H, D, Q]
    return total.reshape(batch, heads * width, queries).transpose(1, 2)


def _splat(g: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    batch, _, heads = loc.shape[:3]
    rows = sum(h * w for h, w in levels)
    like = torch.empty(batch, rows, heads, g.shape[-1] // heads, dtype=g.dtype, device=g.device)
    return seedwise(
        g, lambda s: no_grad_transpose(lambda v: deform_sample(v, loc, weight, levels), like, s)
    )


def _spread(g: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """The transpose of sampling all channels with each head, its mean over heads taken."""
    heads, rows = loc.shape[2], sum(h * w for h, w in levels)
    like = torch.empty(loc.shape[0], rows, g.shape[-1], dtype=g.dtype, device=g.device)
    places, shares = loc.to(g.dtype), weight.to(g.dtype)

    def mean(v: Tensor) -> Tensor:  # [B, S, C] → [B, Q, C]
        table = v.unsqueeze(2).expand(-1, -1, heads, -1)
        sampled = deform_sample(table, places, shares, levels, "border")
        return torch.unflatten(sampled, -1, (heads, -1)).mean(-2)

    return seedwise(g, lambda s: no_grad_transpose(mean, like, s))


def _to_weight(g: Tensor, value: Tensor, loc: Tensor, levels: Levels) -> Tensor:
    like = torch.empty(loc.shape[:-1], dtype=g.dtype, device=g.device)
    return seedwise(
        g, lambda s: no_grad_transpose(lambda a: deform_sample(value, loc, a, levels), like, s)
    )


def _to_location(g: Tensor, value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    def back(seed: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = loc.detach().requires_grad_(True)
            out = deform_sample(value, leaf, weight, levels)
        return torch.autograd.grad(out, leaf, seed.expand_as(out))[0]

    return seedwise(g, back)


def _module(
    query: Tensor,
    reference: Tensor,
    source: Tensor,
    *mask: Tensor,
    heads: int,
    points: int,
    levels: Levels,
    value_weight: Tensor,
    value_bias: Tensor,
    offset_weight: Tensor,
    offset_bias: Tensor,
    attention_weight: Tensor,
    attention_bias: Tensor,
    output_weight: Tensor,
    output_bias: Tensor,
) -> Tensor:
    value = F.linear(source, value_weight, value_bias)
    if mask:
        value = value.masked_fill(mask[0].unsqueeze(-1), 0.0)
    value = torch.unflatten(value, -1, (heads, -1))
    shape = (heads, len(levels), points)
    offsets = torch.unflatten(F.linear(query, offset_weight, offset_bias), -1, (*shape, 2))
    scores = torch.unflatten(F.linear(query, attention_weight, attention_bias), -1, (heads, -1))
    weight = torch.unflatten(scores.softmax(-1), -1, shape[1:])
    anchor = reference[:, :, None, :, None]
    if reference.shape[-1] == 2:
        extent = torch.tensor([(w, h) for h, w in levels], dtype=query.dtype, device=query.device)
        loc = anchor + offsets / extent[:, None]
    else:
        loc = anchor[..., :2] + offsets / points * anchor[..., 2:] * 0.5
    return F.linear(deform_sample(value, loc, weight, levels), output_weight, output_bias)


WEIGHTS = {
    f"{part}_{kind}": "weight"
    for part in ("value", "offset", "attention", "output")
    for kind in ("weight", "bias")
}

ROWS = (
    Op("deformable_attention", None,
       {"heads": "count", "points": "count", "levels": "pairs", **WEIGHTS}, _module,
       Family.ATTENTION),
    Op("deform_sample", 3, {"levels": "pairs"}, deform_sample, Family.SAMPLING, T.ALLOCATES,
       contracted=(0,), operands=("value", "locations", "weights")),
    Op("deform_splat", 3, {"levels": "pairs"}, _splat, Family.TRANSPOSE, T.ALLOCATES,
       contracted=(0,), operands=("g", "locations", "weights")),
    Op("deform_spread", 3, {"levels": "pairs"}, _spread, Family.TRANSPOSE, T.ALLOCATES,
       operands=("g", "locations", "weights")),
    Op("deform_weight_transpose", 3, {"levels": "pairs"}, _to_weight, Family.TRANSPOSE, T.ALLOCATES,
       contracted=(0, 1), operands=("g", "value", "locations")),
    Op("deform_location_transpose", 4, {"levels": "pairs"}, _to_location, Family.TRANSPOSE,
       T.ALLOCATES, operands=("g", "value", "locations", "weights")),
)  # fmt: skip
