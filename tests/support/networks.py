"""Small networks of several kinds, each with two example inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.support.deep import deep
from tests.support.tiny import tiny


class Convolutional(nn.Module):
    """Strided, grouped and dilated convolutions, norms, pooling, a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.first = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2)
        self.group = nn.GroupNorm(2, 8)
        self.second = nn.Conv2d(8, 8, 1)
        self.pool, self.mean = nn.MaxPool2d(2), nn.AvgPool2d(2)
        self.head = nn.Linear(8 * 4 * 4, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.pool(self.norm(self.stem(images)).relu())
        x = x + self.second(self.group(self.first(x)).relu())
        scores: Tensor = self.head(self.mean(x).flatten(1))
        return scores


class Block(nn.Module):
    """Attention and a feed-forward part, each before a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(12), nn.LayerNorm(12)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.up, self.down = nn.Linear(12, 24), nn.Linear(24, 12)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        out: Tensor = x + self.down(nn.functional.gelu(self.up(self.norm2(x))))
        return out


class SmallViT(nn.Module):
    """Patches, a class token, equal blocks, which become one function."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.positions = nn.Parameter(torch.randn(1, 17, 12))
        self.blocks = nn.ModuleList(Block() for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 7)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        scores: Tensor = self.head(self.norm(x)[:, 0])
        return scores


def small(name: str) -> tuple[nn.Module, Tensor]:
    if name == "tiny transformer":
        return tiny()
    if name == "deformable encoder":
        return deep()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "three blocks":
            return nn.Sequential(Block(), Block(), Block()).eval(), torch.randn(2, 17, 12)
        blocks = {"small ViT": 3, "ViT of two blocks": 2}.get(name)
        model = SmallViT(blocks) if blocks else Convolutional()
        return model.eval().requires_grad_(False), torch.randn(2, 3, 16, 16)
