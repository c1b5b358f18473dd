"""A transformer small enough to read whole: one convolution, one attention block, a linear head."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Tiny(nn.Module):
    """Images [B, 3, 8, 8] → scores [B, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.linear1, self.linear2 = nn.Linear(8, 16), nn.Linear(16, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)  # [B, 4, 8]
        x = self.norm1(x + self.attention(x, x, x, need_weights=False)[0])
        x = self.norm2(x + self.linear2(self.linear1(x).relu()))
        scores: Tensor = self.head(x.mean(1))
        return scores


def tiny() -> tuple[Tiny, Tensor]:
    """The model with seeded weights, double, and an example input."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Tiny().double().eval().requires_grad_(False), torch.randn(2, 3, 8, 8).double()
