"""Multi-scale deformable attention written with grid_sample, in the spellings that people use.

Each takes value [B, S, H, D], locations [B, Q, H, L, P, 2] and weights [B, Q, H, L, P], or with all
points along one axis [B, Q, H, ΣP, 2] and [B, Q, H, ΣP], and gives [B, Q, H·D].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.models.maskdino.layers import MSDeformAttn

Levels = Sequence[tuple[int, int]]
Form = Callable[[Tensor, Tensor, Tensor, Levels], Tensor]


def sample(x: Tensor, grid: Tensor, **options: Any) -> Tensor:
    chosen = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": False}
    return F.grid_sample(x, grid, **chosen | options)


def planes(value: Tensor, levels: Levels) -> list[Tensor]:
    """[B·H, D, h, w] of each level."""
    b, _, h, d = value.shape
    parts = value.split([y * x for y, x in levels], 1)
    sized = zip(parts, levels, strict=True)
    return [p.flatten(2).transpose(1, 2).reshape(b * h, d, y, x) for p, (y, x) in sized]


def result(summed: Tensor, value: Tensor) -> Tensor:
    """[B, Q, H·D] of [B·H, D, Q]."""
    b, _, h, d = value.shape
    return summed.view(b, h * d, -1).transpose(1, 2).contiguous()


def stacked(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """Samples of all levels stacked, then weighed."""
    grids = 2 * loc - 1
    found = [
        sample(plane, grids[:, :, :, i].transpose(1, 2).flatten(0, 1))
        for i, plane in enumerate(planes(value, levels))
    ]
    n, q = value.shape[0] * value.shape[2], loc.shape[1]
    shares = weight.transpose(1, 2).reshape(n, 1, q, -1)
    return result((torch.stack(found, -2).flatten(-2) * shares).sum(-1), value)


def concatenated(counts: Sequence[int] | None = None) -> Form:
    """Samples of all levels along one axis of points, so many in each level."""

    def form(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
        b, _, h, d = value.shape
        q = loc.shape[1]
        loc, weight = loc.reshape(b, q, h, -1, 2), weight.reshape(b, q, h, -1)
        own = counts or [loc.shape[3] // len(levels)] * len(levels)
        parts = value.permute(0, 2, 3, 1).flatten(0, 1).split([y * x for y, x in levels], -1)
        grids = (2 * loc - 1).permute(0, 2, 1, 3, 4).flatten(0, 1).split(list(own), -2)
        each = zip(parts, grids, levels, strict=True)
        found = [sample(p.reshape(b * h, d, y, x), grid) for p, grid, (y, x) in each]
        shares = weight.permute(0, 2, 1, 3).reshape(b * h, 1, q, -1)
        return result((shares * torch.cat(found, -1)).sum(-1), value)

    return form


def level_by_level(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """Each level weighed and summed, then all added."""
    total: Any = 0
    for i, plane in enumerate(planes(value, levels)):
        grid = (loc[:, :, :, i] - 0.5) * 2
        picked = sample(plane, grid.transpose(1, 2).flatten(0, 1))
        share = weight[..., i, :].transpose(1, 2).flatten(0, 1)
        total = total + (picked * share[:, None]).sum(3)
    return result(total, value)


def heads_apart(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """Levels and points summed together, points before queries; the result by heads."""
    b, _, h, d = value.shape
    q = loc.shape[1]
    grids = loc.permute(3, 0, 2, 4, 1, 5).flatten(1, 2) * 2.0 - 1.0  # [L, B·H, P, Q, 2]
    found = [sample(plane, grids[i]) for i, plane in enumerate(planes(value, levels))]
    shares = weight.permute(0, 2, 3, 4, 1).flatten(0, 1).unsqueeze(1)  # [B·H, 1, L, P, Q]
    summed = (torch.stack(found, 2) * shares).sum((2, 3))
    return summed.reshape(b, h, d, q).permute(0, 3, 1, 2).flatten(2)


FORMS: dict[str, Form] = {
    "stacked": stacked,
    "concatenated": concatenated(),
    "level by level": level_by_level,
    "heads apart": heads_apart,
}


class SampledAttention(nn.Module):
    """`MSDeformAttn`, with its weights, whose sampling is written in one of these forms."""

    def __init__(self, like: MSDeformAttn, form: Form) -> None:
        super().__init__()
        self.heads, self.levels, self.points = like.n_heads, like.n_levels, like.n_points
        self.form = form
        for name, layer in like.named_children():
            self.add_module(name, layer)

    def forward(
        self, query: Tensor, reference: Tensor, source: Tensor, shapes: Any, starts: Any = None,
        mask: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        b, q, _ = query.shape
        value = self.value_proj(source)
        value = value if mask is None else value.masked_fill(mask[..., None], 0.0)
        value = value.view(b, source.shape[1], self.heads, -1)
        own = (self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).view(b, q, *own, 2)
        shares = self.attention_weights(query).view(b, q, self.heads, -1).softmax(-1)
        anchor = reference[:, :, None, :, None]
        if reference.shape[-1] == 2:
            high, wide = torch.as_tensor(shapes).unbind(-1)
            sizes = torch.stack([wide, high], -1)
            loc = anchor + offsets / sizes[None, None, None, :, None, :]
        else:
            loc = anchor[..., :2] + offsets / self.points * anchor[..., 2:] * 0.5
        sampled = self.form(value, loc, shares.view(b, q, *own), shapes)
        return self.output_proj(sampled)
