"""What relevance hands out and what ledgers book, as generated programs compute it."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor


def book(
    ledger: list[Tensor] | None,
    a: Tensor,
    b: Tensor,
    batch: int = 1,
    fold: int = 1,
    times: int = 1,
    negative: bool = False,
) -> None:
    """Books Σ a ⊙ b, [K, B], or the negative of it, so many times, where there is a ledger."""
    if ledger is not None:
        amount = inner(a, b, batch, fold)
        ledger.extend([-amount if negative else amount] * times)


def hand_out(
    out: dict[str, Tensor],
    read: Collection[str],
    ledger: list[Tensor] | None,
    place: str,
    g: Tensor,
    *x: Tensor,
) -> bool:
    """Relevance at a place, where it is wanted, goes into `out`: g ⊙ x, or g ⊙ x + a third, or g
    alone. Whether nothing more is wanted then."""
    if place in read:
        found = g * x[0] if x else g
        out[place] = found + x[1] if len(x) > 1 else found
        return len(out) == len(read) and ledger is None
    return False


def inner(a: Tensor, b: Tensor, batch: int, fold: int = 1) -> Tensor:
    """Σ a ⊙ b over all but the seeds axis (0) and the batch axis: [K, B], in float64.

    Where a is 0 nothing is added, be b a masked score of −∞. The batch axis may hold `fold`
    entries of each image one after the other, or (negative) `fold` times all images. Large ones go
    in stretches: double precision of all of it would take twice the memory that it has.
    """
    if torch.compiler.is_compiling() or not books_in_stretches(a, b, batch):
        t = inner_at_once(a, b, batch)
    elif a.is_cuda:
        t = inner_in_stretches(a, b, 1 << 22, inner_at_once)
    else:
        t = inner_in_stretches(a, b, 1 << 17, inner_of_finite)  # what a cache holds
        if not a.is_meta and bool(t.isnan().any()):  # 0 · −∞, if nothing worse
            t = inner_in_stretches(a, b, 1 << 16, inner_at_once)
    if fold == 1:
        return t
    parts = t.reshape(t.shape[0], -1, fold) if fold > 1 else t.reshape(t.shape[0], -fold, -1).mT
    return parts.sum(-1)


def inner_at_once(a: Tensor, b: Tensor, batch: int = 1) -> Tensor:
    """`inner` before it is folded, of any strides."""
    t = (a.double() * b).masked_fill_(a == 0, 0.0)
    t = t.movedim(batch, 1) if batch else t.unsqueeze(1)
    return t.flatten(2).sum(-1) if t.dim() > 2 else t


def inner_of_finite(a: Tensor, b: Tensor) -> Tensor:
    """Σ a ⊙ b of one image, [K, 1], from a [K, 1, n] and b [1, n], or a [K, 1, n, m] and b [m];
    NaN where b is infinite and a is 0."""
    products = a[:, 0].double() @ b.flatten().double()
    return products.unsqueeze(1) if a.dim() == 3 else products.sum(1, keepdim=True)


def books_in_stretches(a: Tensor, b: Tensor, batch: int) -> bool:
    """Whether `inner_in_stretches` takes these: images in front, b with or without them, both in
    order; and whether it is worth it."""
    lead = a.dim() - b.dim()
    alike = a.dim() > 2 and lead > 0 and b.shape == a.shape[lead:] and batch == 1
    return alike and a.is_contiguous() and b.is_contiguous() and a.numel() >= 1 << 17


def inner_in_stretches(
    a: Tensor, b: Tensor, size: int, part: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Σ a ⊙ b, [K, B], from a [K, B, ...] and b, whose shape is the end of a's: by `part` of one
    image and some `size` products at a time."""
    seeds, images = a.shape[:2]
    own = a.dim() - b.dim() == 1  # each image has its own b
    rows = a.flatten(2) if own else a.reshape(seeds, images, -1, b.numel())
    b = b.flatten(1 if own else 0)
    step = max(size * images * rows.shape[2] // rows.numel(), 1)
    total = a.new_zeros(seeds, images, dtype=torch.float64)
    for image in range(images):
        one = slice(image, image + 1)
        for first in range(0, rows.shape[2], step):
            here = slice(first, first + step)
            total[:, one] += part(rows[:, one, here], b[one, here] if own else b)
    return total
