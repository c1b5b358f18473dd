"""What ledgers book, as generated programs compute it."""

from __future__ import annotations

import torch
from torch import Tensor


def inner(a: Tensor, b: Tensor, batch: int, fold: int = 1) -> Tensor:
    """Σ a ⊙ b over all but the seeds axis (0) and the batch axis: [K, B], booked in float64.

    Where a is 0 nothing is booked, be b a masked score of −∞. The batch axis may hold `fold`
    entries of each image one after the other, or (negative) `fold` times all images. A CPU goes in
    stretches, which stay in its cache.
    """
    fits = not (a.is_cuda or torch.compiler.is_compiling()) and books_in_stretches(a, b, batch)
    t = inner_in_stretches(a, b) if fits else inner_at_once(a, b, batch)
    if fits and not a.is_meta and bool(t.isnan().any()):  # 0 · −∞, if nothing worse
        t = inner_at_once(a, b, batch)
    if fold == 1:
        return t
    parts = t.reshape(t.shape[0], -1, fold) if fold > 1 else t.reshape(t.shape[0], -fold, -1).mT
    return parts.sum(-1)


def inner_at_once(a: Tensor, b: Tensor, batch: int) -> Tensor:
    """`inner` before it is folded, of any strides."""
    t = (a.double() * b).masked_fill(a == 0, 0.0)
    t = t.movedim(batch, 1) if batch else t.unsqueeze(1)
    return t.flatten(2).sum(-1) if t.dim() > 2 else t


def books_in_stretches(a: Tensor, b: Tensor, batch: int) -> bool:
    """Whether `inner_in_stretches` takes these: images in front, b with or without them, both in
    order; and whether it is worth it."""
    lead = a.dim() - b.dim()
    alike = a.dim() > 2 and lead > 0 and b.shape == a.shape[lead:] and batch == 1
    return alike and a.is_contiguous() and b.is_contiguous() and a.numel() >= 1 << 14


def inner_in_stretches(a: Tensor, b: Tensor) -> Tensor:
    """Σ a ⊙ b, [K, B], from a [K, B, ...] and b, whose shape is the end of a's; NaN where b is
    infinite and a is 0."""
    seeds, images = a.shape[:2]
    total = a.new_zeros(seeds, images, dtype=torch.float64)
    if a.dim() - b.dim() == 1:
        rows, own = a.flatten(2), b.flatten(1)
        step = min(max((1 << 17) // seeds, 1024), own.shape[1])
        wide = total.new_empty(seeds + 1, step)
        for image in range(images):
            for first in range(0, own.shape[1], step):
                here = slice(first, first + step)
                room = wide[:, : own[image, here].shape[0]]
                room[:-1], room[-1] = rows[:, image, here], own[image, here]
                total[:, image] += room[:-1] @ room[-1]
        return total
    row = b.flatten().double()
    rows = a.reshape(seeds, images, -1, row.shape[0])
    step = min(max((1 << 17) // (seeds * row.shape[0]), 1), rows.shape[2])
    wide = total.new_empty(seeds, step, row.shape[0])
    for image in range(images):
        for first in range(0, rows.shape[2], step):
            part = rows[:, image, first : first + step]
            room = wide[:, : part.shape[1]].copy_(part)
            total[:, image] += (room @ row).sum(1)
    return total
