"""What relevance hands out and what ledgers book, as generated programs compute it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

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
    rest: bool = False,
) -> None:
    """Books Σ a ⊙ b, [K, B], or the negative of it, so many times, where there is a ledger; or the
    `rest` that it leaves of the row before."""
    if ledger is not None:
        amount = inner(a, b, batch, fold)
        amount = ledger[-1] - amount if rest else -amount if negative else amount
        ledger.extend([amount] * times)


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
    in segments, for double precision of all of it would take twice the memory that it has. On CPUs
    sums are taken without a mask first, and again with one where there was something to mask.
    """
    compiling = torch.compiler.is_compiling()
    parts = not compiling and in_segments(a, b, batch)
    masked = compiling or a.is_cuda
    t = segment_sums(a, b, masked) if parts else product_sums(a, b, batch, masked)
    if not masked and not a.is_meta and bool(t.isnan().any()):  # 0 · −∞, if nothing worse
        t = segment_sums(a, b, True) if parts else product_sums(a, b, batch, True)
    if fold == 1:
        return t
    folded = t.reshape(t.shape[0], -1, fold) if fold > 1 else t.reshape(t.shape[0], -fold, -1).mT
    return folded.sum(-1)


def product_sums(a: Tensor, b: Tensor, batch: int, masked: bool) -> Tensor:
    """`inner` before it is folded, of any strides, all at once."""
    t = products(a, b, masked)
    rest = [axis for axis in range(1, t.dim()) if axis != batch]
    t = t.sum(rest) if rest else t
    return t if batch else t.unsqueeze(1)


def products(a: Tensor, b: Tensor, masked: bool) -> Tensor:
    """a ⊙ b in float64; 0 where a is 0 if `masked`, whatever b is there."""
    over = a.dtype != torch.float64 and broadcasts(b.shape, a.shape)
    t = a.double().mul_(b.double()) if over else a.double() * b
    return t.masked_fill_(a == 0, 0.0) if masked else t


def broadcasts(shape: Sequence[int], to: Sequence[int]) -> bool:
    """Whether a tensor of one shape broadcasts to another shape."""
    ends = zip(shape[::-1], to[::-1], strict=False)
    return len(shape) <= len(to) and all(m in (1, n) for m, n in ends)


def in_segments(a: Tensor, b: Tensor, batch: int) -> bool:
    """Whether `segment_sums` takes these: images in front, b with or without them, or an entry for
    each channel of maps, both in order; and whether it is worth it."""
    lead = a.dim() - b.dim()
    if batch != 1 or a.dim() < 3 or lead < 1 or a.numel() < 1 << 17:
        return False
    alike = b.shape == a.shape[lead:] or (lead == 2 and b.numel() == b.shape[0] == a.shape[2])
    return alike and a.is_contiguous() and b.is_contiguous()


def segment_sums(a: Tensor, b: Tensor, masked: bool) -> Tensor:
    """Σ a ⊙ b, [K, B], of as many products at a time as a CPU's cache holds: from a [K, B, ...] and
    b, whose shape is the end of a's, or [C, 1, ...]."""
    lead, (seeds, images) = a.dim() - b.dim(), a.shape[:2]
    channels = b.shape != a.shape[lead:]
    if channels:
        rows, b = a.flatten(3), b.flatten(1)
    elif lead == 1:  # each image has its own b
        rows, b = a.flatten(2), b.flatten(1)
    else:
        rows, b = a.reshape(seeds, images, -1, b.numel()), b.flatten()
    size = 1 << 22 if a.is_cuda else 1 << 19
    count = -(-rows.numel() // size)
    step = -(-rows.shape[2] // count)
    step += -step % 1024 if not channels else 0
    exact = torch.promote_types(a.dtype, torch.float32)
    room = a.new_empty(rows[:, :, :step].numel(), dtype=exact)
    sums = []
    for first in range(0, rows.shape[2], step):
        here = slice(first, first + step)
        own = b[here] if channels else b[:, here] if lead == 1 else b
        part = rows[:, :, here]
        t = torch.mul(part.to(exact), own, out=room[: part.numel()].view(part.shape))
        sums += row_sums((t.masked_fill_(part == 0, 0.0) if masked else t).flatten(2))
    return torch.cat(sums, -1).sum(-1, dtype=torch.float64)


def row_sums(t: Tensor, added: int = 1024) -> list[Tensor]:
    """Sums of so many entries of the last axis at a time, and of the rest. Torch adds few numbers
    in pairs, so that these sums are off by no more than what rounding each number is."""
    many = t.shape[-1] // added * added
    parts = [t[..., :many].reshape(*t.shape[:-1], -1, added).sum(-1)] if many else []
    return [*parts, t[..., many:].sum(-1, keepdim=True)] if many < t.shape[-1] else parts
