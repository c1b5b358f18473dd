"""Layers of deformable attention over two small maps, as in a detection transformer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.models.maskdino.layers import MSDeformAttn

SHAPES = ((8, 8), (4, 4))
WIDTH, HEADS, POINTS = 16, 2, 2


class Layer(nn.Module):
    """Deformable attention and a feed-forward part, each followed by a sum and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = MSDeformAttn(WIDTH, len(SHAPES), HEADS, POINTS)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, references: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x, references, x, SHAPES))
        out: Tensor = self.norm2(x + self.down(F.relu(self.up(x))))
        return out


class Deep(nn.Module):
    """Tokens [B, 80, 16] → scores [B, 7]."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.head = nn.Linear(WIDTH, 7)
        centres = [
            torch.stack(torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy"), -1)
            .add(0.5)
            .div(torch.tensor([w, h]))
            .flatten(0, 1)
            for h, w in SHAPES
        ]
        points = torch.cat(centres)[None, :, None].expand(-1, -1, len(SHAPES), -1)
        self.register_buffer("references", points.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, self.references)
        scores: Tensor = self.head(x.mean(1))
        return scores


def deep(layers: int = 6) -> tuple[nn.Module, Tensor]:
    """The model with seeded weights, double, and an example input."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Deep(layers).double().eval().requires_grad_(False)
        return model, torch.randn(2, sum(h * w for h, w in SHAPES), WIDTH).double()
