"""Other values for an example call: the same shapes and kinds of numbers, every image another."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from lrpc.frontend.capture import Example
from lrpc.frontend.records import Input, mapped

FEW = 3
"""A floating tensor of at most so many distinct numbers is a mask or a flag."""


def varied(example: Example, size: int, fixed: Collection[str], seed: int = 0) -> Example:
    """A call on `size` images that differ from the example's and from each other.

    Numbers stay within the range that the example has for each input, whole numbers among those
    seen; masks are shifted along their last axis. Seed 0 keeps an image's statistics, others move
    them within its range. Inputs in `fixed` have no batch axis.
    """
    generator = torch.Generator().manual_seed(seed)

    def change(x: Input) -> Input:
        if x.name in fixed or x.value.dim() == 0:
            return Input(x.name, _other(x.value, 1, generator, seed > 0))
        images = [
            _other(x.value[i % x.value.shape[0]], i + 1, generator, seed > 0) for i in range(size)
        ]
        return Input(x.name, torch.stack(images))

    args, kwargs = mapped((example.args, example.kwargs), Input, change)
    return Example(args, kwargs)


def _other(value: Tensor, shift: int, generator: torch.Generator, move: bool) -> Tensor:
    """Another tensor of the same kind."""
    if value.dtype == torch.bool or _is_flag(value):
        return value.roll(shift, -1) if value.dim() else value.clone()
    order = torch.randperm(value.numel(), generator=generator)
    moved = value.reshape(-1)[order].reshape(value.shape)
    return _shaken(moved, generator, move) if value.is_floating_point() else moved


def _is_flag(value: Tensor) -> bool:
    if not value.is_floating_point():
        return False
    if not bool(torch.isfinite(value).all()):
        return True
    few = torch.unique(value.reshape(-1)[:1000]).numel() <= FEW  # or else no need to sort them all
    return bool(few) and 1 < torch.unique(value).numel() <= FEW


def _shaken(value: Tensor, generator: torch.Generator, move: bool) -> Tensor:
    """Every number a quarter of the way to another in the range; or, to `move`, all of them into a
    fifth of the range."""
    low, high = (float(value.min()), float(value.max())) if value.numel() else (0.0, 0.0)
    if low == high:
        low, high = low - max(abs(low), 1.0) / 2, high + max(abs(high), 1.0) / 2
    noise = torch.rand(value.shape, generator=generator, dtype=torch.float64)
    if move:
        start = 0.8 * float(torch.rand((), generator=generator, dtype=torch.float64))
        return (low + (high - low) * (start + 0.2 * noise)).to(value.dtype).clamp(low, high)
    drawn = (low + (high - low) * noise).to(value.dtype)
    return (value * 0.75 + drawn * 0.25).clamp(low, high)
