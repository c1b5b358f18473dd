"""Other values of the same kind: for other images, and for other batches."""

from __future__ import annotations

import torch
from torch import Tensor


def others(like: Tensor, shape: tuple[int, ...], seed: int) -> Tensor:
    """Values within the range of `like`, in another order and, where it has both, other signs."""
    generator = torch.Generator().manual_seed(seed)
    if like.dtype == torch.bool:
        return torch.rand(shape, generator=generator) > 0.5
    low, high = like.min(), like.max()
    if not like.is_floating_point():
        low, high = int(low), int(high)
        if low == high:
            low = min(low, 0) if low >= 0 else 2 * low
        return torch.randint(low, high + 1, shape, generator=generator).to(like.dtype)
    spread = float(high - low)
    if not spread > 0:
        size = abs(float(low)) or 1.0
        low, spread = low - 0.5 * size, size
    unit = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (float(low) + spread * unit).to(like.dtype)


def near(like: Tensor, shape: tuple[int, ...], seed: int) -> Tensor:
    """Numbers beside those of `like`: where a call wants more of its arguments than a range."""
    wide = like.expand(shape)
    if not like.is_floating_point():
        return wide.clone()
    generator = torch.Generator().manual_seed(seed)
    return wide * (1 + 0.05 * torch.rand(shape, generator=generator, dtype=like.dtype))
