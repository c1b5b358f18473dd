"""The pixel decoder: a deformable encoder over the feature levels, and the per-pixel embedding."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.models.maskdino.layers import MSDeformAttn, NormedConv2d, Shapes
from lrpc.models.maskdino.positions import map_positions, token_references
from lrpc.models.maskdino.spec import MaskDINOSpec

POINTS = 4  # sampling points per head and level; the released code fixes it in both transformers
GROUPS = 32


class EncoderLayer(nn.Module):
    """Deformable self-attention and a feed-forward part, each followed by add and norm."""

    def __init__(self, spec: MaskDINOSpec) -> None:
        super().__init__()
        width = spec.encoder_width
        self.self_attn = MSDeformAttn(width, spec.levels, spec.encoder_heads, POINTS)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, spec.encoder_ffn)
        self.linear2 = nn.Linear(spec.encoder_ffn, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        references: Tensor,
        shapes: Shapes,
        padding: Tensor | None,
    ) -> Tensor:
        """Tokens [B, N, C] → [B, N, C]; positions [1, N, C], references [1 or B, N, L, 2]."""
        attended = self.self_attn(tokens + positions, references, tokens, shapes, None, padding)
        tokens = self.norm1(tokens + attended)
        output: Tensor = self.norm2(tokens + self.linear2(F.relu(self.linear1(tokens))))
        return output


class Encoder(nn.Module):
    """The stack of encoder layers."""

    def __init__(self, spec: MaskDINOSpec) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(spec) for _ in range(spec.encoder_layers))

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        references: Tensor,
        shapes: Shapes,
        padding: Tensor | None,
    ) -> Tensor:
        """Tokens [B, N, C] → memory [B, N, C]."""
        for layer in self.layers:
            tokens = layer(tokens, positions, references, shapes, padding)
        return tokens


class Transformer(nn.Module):
    """The encoder with its level embedding; `positions` lists one sine code per level."""

    def __init__(self, spec: MaskDINOSpec) -> None:
        super().__init__()
        self.encoder = Encoder(spec)
        self.level_embed = nn.Parameter(torch.zeros(spec.levels, spec.encoder_width))

    def forward(
        self, maps: list[Tensor], positions: list[Tensor], masks: list[Tensor] | None
    ) -> tuple[Tensor, Shapes]:
        """Feature maps [B, C, H, W] per level → memory [B, N, C] and the levels' shapes."""
        shapes = tuple((feature.shape[-2], feature.shape[-1]) for feature in maps)
        tokens = torch.cat([feature.flatten(2).transpose(1, 2) for feature in maps], 1)
        placed = [code + self.level_embed[level] for level, code in enumerate(positions)]
        references = token_references(shapes, masks, tokens)
        padding = None if masks is None else torch.cat([mask.flatten(1) for mask in masks], 1)
        memory = self.encoder(tokens, torch.cat(placed, 1), references, shapes, padding)
        return memory, shapes


class Pixels(NamedTuple):
    """What the pixel decoder hands on; `memory` holds one [B, H·W, C] per level, in token order."""

    memory: list[Tensor]
    shapes: Shapes
    masks: list[Tensor] | None
    mask_features: Tensor  # [B, C, H/4, W/4]


class PixelDecoder(nn.Module):
    """Feature levels → memory, and the embedding of every pixel at a quarter of the resolution."""

    def __init__(self, spec: MaskDINOSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.encoder_width
        convolutions = [
            nn.Conv2d(spec.backbone.channels(stage), width, 1) for stage in spec.encoder_features
        ]
        before = max(spec.backbone.channels(stage) for stage in spec.encoder_features)
        for _ in range(spec.extra_levels):
            convolutions.append(nn.Conv2d(before, width, 3, stride=2, padding=1))
            before = width
        self.input_proj = nn.ModuleList(
            nn.Sequential(convolution, nn.GroupNorm(GROUPS, width)) for convolution in convolutions
        )
        self.transformer = Transformer(spec)
        self.mask_features = nn.Conv2d(width, spec.mask_width, 1)
        self.adapter_1 = NormedConv2d(spec.backbone.channels("res2"), width, 1, self._norm())
        self.layer_1 = NormedConv2d(width, width, 3, self._norm())

    def _norm(self) -> nn.Module | None:
        return nn.GroupNorm(GROUPS, self.spec.encoder_width) if self.spec.mask_norm else None

    def levels(self, features: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Projected maps [B, C, H, W] and their sine codes [1, H·W, C], in token order.

        With two or more extra levels the maps are reversed and the codes are not: the released
        checkpoints were trained so.
        """
        names = self.spec.encoder_features
        maps = [self.input_proj[i](features[name]) for i, name in enumerate(names)]
        below = features[max(names, key=self.spec.backbone.channels)]
        extras: list[Tensor] = []
        for projection in list(self.input_proj)[len(names) :]:
            below = projection(below)
            extras.append(below)
        codes, extra_codes = self._codes(maps), self._codes(extras)
        if self.spec.low_to_high:
            return maps + extras[::-1], codes + extra_codes
        return extras[::-1] + maps, extra_codes + codes

    def _codes(self, maps: list[Tensor]) -> list[Tensor]:
        width = self.spec.encoder_width
        return [map_positions(m.shape[-2], m.shape[-1], width, m) for m in maps]

    def forward(self, features: dict[str, Tensor], padding_mask: Tensor | None) -> Pixels:
        """Backbone maps `res2` … `res5`, padding bool [B, H, W] or None → `Pixels`."""
        maps, positions = self.levels(features)
        masks = None if padding_mask is None else [_resize(padding_mask, m) for m in maps]
        tokens, shapes = self.transformer(maps, positions, masks)
        memory, start = [], 0
        for height, width in shapes:
            memory.append(tokens[:, start : start + height * width])
            start += height * width
        finest = 0 if self.spec.low_to_high else -1
        coarse = (
            memory[finest].transpose(1, 2).reshape(-1, self.spec.encoder_width, *shapes[finest])
        )
        lateral = self.adapter_1(features["res2"])
        size = (lateral.shape[-2], lateral.shape[-1])
        raised = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        pixels = self.mask_features(F.relu(self.layer_1(lateral + raised)))
        return Pixels(memory, shapes, masks, pixels)


def _resize(padding_mask: Tensor, feature: Tensor) -> Tensor:
    """The padding mask [B, H, W] at the resolution of a feature map, nearest neighbour."""
    size = (feature.shape[-2], feature.shape[-1])
    return F.interpolate(padding_mask.unsqueeze(1).to(feature.dtype), size=size)[:, 0] > 0.5
