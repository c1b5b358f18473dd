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
    sized = zip(value.split([y * x for y, x in levels], 1), levels, strict=True)
    return [p.flatten(2).transpose(1, 2).reshape(b * h, d, y, x) for p, (y, x) in sized]


def result(summed: Tensor, value: Tensor) -> Tensor:
    """[B, Q, H·D] of [B·H, D, Q]."""
    b, _, h, d = value.shape
    return summed.reshape(b, h * d, -1).transpose(1, 2).contiguous()


def stacked(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """Samples of all levels stacked, then weighed."""
    grids = 2 * loc - 1
    found = [
        sample(plane, grids[:, :, :, i].transpose(1, 2).flatten(0, 1))
        for i, plane in enumerate(planes(value, levels))
    ]
    n, q = value.shape[0] * value.shape[2], loc.shape[1]
    share = weight.transpose(1, 2).reshape(n, 1, q, -1)
    return result((torch.stack(found, -2).flatten(-2) * share).sum(-1), value)


def concatenated(counts: Sequence[int] | None = None) -> Form:
    """Samples of all levels along one axis of points, so many in each level."""

    def form(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
        b, _, h, d = value.shape
        q = loc.shape[1]
        loc, weight = loc.reshape(b, q, h, -1, 2), weight.reshape(b, q, h, -1)
        own = counts or [loc.shape[3] // len(levels)] * len(levels)
        maps = value.permute(0, 2, 3, 1).flatten(0, 1).split([y * x for y, x in levels], -1)
        grids = (2 * loc - 1).permute(0, 2, 1, 3, 4).flatten(0, 1).split(list(own), -2)
        each = zip(maps, grids, levels, strict=True)
        found = [sample(p.reshape(b * h, d, y, x), grid) for p, grid, (y, x) in each]
        share = weight.permute(0, 2, 1, 3).reshape(b * h, 1, q, -1)
        return result((share * torch.cat(found, -1)).sum(-1), value)

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
    share = weight.permute(0, 2, 3, 4, 1).flatten(0, 1).unsqueeze(1)  # [B·H, 1, L, P, Q]
    summed = (torch.stack(found, 2) * share).sum((2, 3))
    return summed.reshape(b, h, d, q).permute(0, 3, 1, 2).flatten(2)


def samples(value: Tensor, loc: Tensor, levels: Levels) -> list[Tensor]:
    """[B·H, D, Q, P] of each level."""
    grids = (2 * loc - 1).transpose(1, 2).unbind(3)
    return [
        sample(p, grid.flatten(0, 1)) for p, grid in zip(planes(value, levels), grids, strict=True)
    ]


def shares(weight: Tensor) -> list[Tensor]:
    """[B·H, Q, P] of each level."""
    return [one.flatten(0, 1) for one in weight.transpose(1, 2).unbind(3)]


def parts(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> list[tuple[Tensor, ...]]:
    """Samples and weights of each level."""
    return list(zip(samples(value, loc, levels), shares(weight), strict=True))


def einsum(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    found = torch.stack(samples(value, loc, levels), -2)
    return result(
        torch.einsum("ncqlp,nqlp->ncq", found, weight.transpose(1, 2).flatten(0, 1)), value
    )


def einsum_by_head(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """Weights first and by head, levels first in the samples."""
    found = torch.stack(samples(value, loc, levels)).unflatten(1, value.shape[::2][:2])
    return torch.einsum("bqhlp,lbhcqp->bqhc", weight, found).flatten(2)


def columns(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """A product of matrices [D, ΣP] with columns of weights."""
    found = torch.cat(samples(value, loc, levels), -1).transpose(1, 2)
    column = weight.transpose(1, 2).reshape(*found.shape[:2], -1, 1)
    return result((found @ column).squeeze(-1).transpose(1, 2), value)


def rows(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """A product of rows of weights with matrices [ΣP, D], heads and queries along one axis."""
    b, _, h, d = value.shape
    found = torch.cat(samples(value, loc, levels), -1).permute(0, 2, 3, 1)
    row = weight.transpose(1, 2).flatten(0, 2).flatten(1).unsqueeze(1)
    summed = torch.bmm(row, found.flatten(0, 1))
    return summed.reshape(b, h, -1, d).transpose(1, 2).flatten(2)


def weighed_then_stacked(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """Points summed first, then levels."""
    found = [s * w[:, None] for s, w in parts(value, loc, weight, levels)]
    return result(torch.stack(found, -1).sum(-2).sum(-1), value)


def accumulated(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    b, _, h, d = value.shape
    out = value.new_zeros(b * h, d, loc.shape[1])
    for s, w in parts(value, loc, weight, levels):
        out += torch.einsum("ncqp,nqp->ncq", s, w)
    return result(out, value)


def points_last(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """Levels added point by point, then points summed."""
    first, *others = parts(value, loc, weight, levels)
    out = first[0] * first[1][:, None]
    for s, w in others:
        out = torch.addcmul(out, s, w[:, None])
    return result(out.sum(-1), value)


def sums_stacked(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    found = [(w.unsqueeze(1) * s).sum(-1) for s, w in parts(value, loc, weight, levels)]
    return result(torch.stack(found).sum(0), value)


def unflattened(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """Images and heads apart but in `grid_sample`; queries before channels in each level."""
    b, _, h, _ = value.shape
    out = torch.zeros_like(value[:, :1]).expand(-1, loc.shape[1], -1, -1)
    maps = value.permute(0, 2, 3, 1).split([y * x for y, x in levels], -1)
    grids = (loc * 2 - 1).permute(0, 2, 1, 3, 4, 5).unbind(3)
    for part, grid, w, size in zip(maps, grids, weight.unbind(3), levels, strict=True):
        s = sample(part.unflatten(-1, size).flatten(0, 1), grid.flatten(0, 1)).unflatten(0, (b, h))
        out = out + (s.permute(0, 3, 1, 2, 4) * w.unsqueeze(3)).sum(-1)
    return out.flatten(-2)


def written(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """Samples written into a tensor for all of them."""
    found = samples(value, loc, levels)
    every = value.new_zeros(*found[0].shape[:3], len(levels), found[0].shape[3])
    for i, one in enumerate(found):
        every[..., i, :] = one
    return result((every * weight.transpose(1, 2).flatten(0, 1)[:, None]).sum((-1, -2)), value)


FORMS: dict[str, Form] = {
    "stacked": stacked,
    "concatenated": concatenated(),
    "level by level": level_by_level,
    "heads apart": heads_apart,
    "einsum": einsum,
    "einsum by head": einsum_by_head,
    "columns": columns,
    "rows": rows,
    "weighed, then stacked": weighed_then_stacked,
    "accumulated": accumulated,
    "points last": points_last,
    "sums stacked": sums_stacked,
    "unflattened": unflattened,
    "written": written,
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
