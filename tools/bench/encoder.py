"""Deformable encoder layers over tokens of fixed levels, as models to measure."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.models.maskdino.layers import MSDeformAttn
from lrpc.models.maskdino.pixel_decoder import POINTS, EncoderLayer
from tools.bench.floors import Work, encoder_forward, encoder_relevance

Levels = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Layout:
    """The sizes of an encoder."""

    levels: Levels
    layers: int = 6
    width: int = 256
    ffn: int = 1024
    heads: int = 8

    @property
    def tokens(self) -> int:
        """Tokens of one image."""
        return sum(height * width for height, width in self.levels)

    def work(self, batch: int, seeds: int) -> Work:
        """The least work of forward and relevance of `seeds` seeds."""
        sizes = (self.tokens, self.width, self.ffn, self.heads, len(self.levels), POINTS)
        forward, back = encoder_forward(*sizes), encoder_relevance(*sizes)
        return forward.plus(back.times(seeds)).times(self.layers * batch)

    def described(self) -> str:
        levels = " + ".join(f"{h}×{w}" for h, w in self.levels)
        return f"{self.layers} layers, {self.tokens:,} tokens ({levels})"


def chosen(levels: Levels, quick: bool) -> Layout:
    """The encoder that is measured, or a small one."""
    small = {"layers": 2, "width": 64, "ffn": 128, "heads": 4}
    return Layout(levels, **small) if quick else Layout(levels)


def offset_pattern(heads: int, levels: int) -> Tensor:
    """Where an initialised model samples, in pixels: head by head along a direction of its own,
    point by point further out. [H, L, P, 2]"""
    angle = torch.arange(heads) * (2 * math.pi / heads)
    direction = torch.stack((angle.cos(), angle.sin()), -1)
    direction = direction / direction.abs().amax(-1, keepdim=True)
    steps = torch.arange(1, POINTS + 1).view(1, 1, POINTS, 1)
    return (direction.view(heads, 1, 1, 2) * steps).expand(-1, levels, -1, -1)


def references(levels: Levels) -> Tensor:
    """The centre of every token's cell as (x, y) in [0, 1]: [N, 2]."""
    parts = []
    for height, width in levels:
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        parts.append(torch.stack(((x + 0.5) / width, (y + 0.5) / height), -1).reshape(-1, 2))
    return torch.cat(parts)


class Encoder(nn.Module):
    """Tokens [B, N, C] → [B, N, C], with seeded random weights; sampling offsets as initialised and
    about a pixel of noise."""

    anchors: Tensor
    positions: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.levels, count = layout.levels, len(layout.levels)
        spec: Any = SimpleNamespace(
            encoder_width=layout.width,
            encoder_heads=layout.heads,
            encoder_ffn=layout.ffn,
            levels=count,
        )
        anchors = references(layout.levels)[None, :, None].expand(-1, -1, count, -1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.ModuleList(EncoderLayer(spec) for _ in range(layout.layers))
            for layer in self.layers:
                offsets = _attention(layer).sampling_offsets
                nn.init.normal_(offsets.weight, std=1 / math.sqrt(layout.width))
                offsets.bias.data = offset_pattern(layout.heads, count).reshape(-1).clone()
            self.register_buffer("positions", 0.1 * torch.randn(1, layout.tokens, layout.width))
        self.register_buffer("anchors", anchors.clone())
        self.eval().requires_grad_(False)

    def forward(self, tokens: Tensor) -> Tensor:
        for layer in self.layers:
            tokens = layer(tokens, self.positions, self.anchors, self.levels, None)
        return tokens


def _attention(layer: nn.Module) -> MSDeformAttn:
    assert isinstance(layer.self_attn, MSDeformAttn)
    return layer.self_attn


def with_attention(encoder: Encoder, kind: type[MSDeformAttn]) -> Encoder:
    """A copy of an encoder whose attention is of another class with the same weights."""
    made = copy.deepcopy(encoder)
    for layer in made.layers:
        old = _attention(layer)
        new = kind(old.d_model, old.n_levels, old.n_heads, old.n_points)
        new.load_state_dict(old.state_dict())
        layer.self_attn = new.requires_grad_(False)
    return made


def drawn(batch: int, layout: Layout, seeds: int) -> tuple[Tensor, Tensor]:
    """Seeded tokens [B, N, C], and what the output is weighed with: [K, B, N, C]."""
    generator = torch.Generator().manual_seed(1)
    shape = (batch, layout.tokens, layout.width)
    tokens = torch.randn(*shape, generator=generator)
    return tokens, torch.randn(seeds, *shape, generator=generator)
