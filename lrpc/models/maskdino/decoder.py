"""The transformer decoder: queries look at each other, at the memory, and refine their boxes."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.models.maskdino.boxes import inverse_sigmoid
from lrpc.models.maskdino.layers import MLP, MSDeformAttn, Shapes
from lrpc.models.maskdino.pixel_decoder import POINTS
from lrpc.models.maskdino.positions import box_positions
from lrpc.models.maskdino.spec import SINE_WIDTH, MaskDINOSpec

HEADS = 8  # the released decoder has eight whatever NHEADS says


class Memory(NamedTuple):
    """What the queries look at: tokens [B, N, C], their level shapes, and what is padding."""

    tokens: Tensor
    shapes: Shapes
    padding: Tensor | None  # bool [B, N]
    ratios: Tensor | None  # [B, L, 2], share of every level that is not padding


class DecoderLayer(nn.Module):
    """Self-attention, then deformable cross-attention, then the feed-forward part."""

    def __init__(self, spec: MaskDINOSpec) -> None:
        super().__init__()
        width = spec.width
        self.cross_attn = MSDeformAttn(width, spec.levels, HEADS, POINTS)
        self.norm1 = nn.LayerNorm(width)
        self.self_attn = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, spec.decoder_ffn)
        self.linear2 = nn.Linear(spec.decoder_ffn, width)
        self.norm3 = nn.LayerNorm(width)

    def forward(
        self, queries: Tensor, positions: Tensor, references: Tensor, memory: Memory
    ) -> Tensor:
        """Queries and positions [B, Q, C], references [B, Q, L, 4] → [B, Q, C]."""
        placed = queries + positions
        attended = self.self_attn(placed, placed, queries, need_weights=False)[0]
        queries = self.norm2(queries + attended)
        looked = self.cross_attn(
            queries + positions, references, memory.tokens, memory.shapes, None, memory.padding
        )
        queries = self.norm1(queries + looked)
        output: Tensor = self.norm3(queries + self.linear2(F.relu(self.linear1(queries))))
        return output


class Decoder(nn.Module):
    """The stack of decoder layers; `norm` and `bbox_embed` are shared with the predictor."""

    def __init__(self, spec: MaskDINOSpec, norm: nn.LayerNorm, bbox_embed: nn.ModuleList) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(spec) for _ in range(spec.decoder_layers))
        self.norm = norm
        self.ref_point_head = MLP((SINE_WIDTH, spec.width, spec.width))
        self.bbox_embed = bbox_embed

    def forward(
        self, queries: Tensor, boxes: Tensor, memory: Memory
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Runs all layers from queries [B, Q, C] and boxes (cx, cy, w, h) [B, Q, 4].

        Returns for every layer its un-normed output [B, Q, C] and the box it started from.
        """
        states: list[Tensor] = []
        references: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            if index > 0:
                delta = self.bbox_embed[index - 1](queries)
                boxes = (delta + inverse_sigmoid(boxes)).sigmoid().detach()
            points = _per_level(boxes, memory)
            positions = self.ref_point_head(box_positions(points[:, :, 0]))
            queries = layer(queries, positions, points, memory)
            states.append(queries)
            references.append(boxes)
        return states, references


def _per_level(boxes: Tensor, memory: Memory) -> Tensor:
    """Boxes [B, Q, 4] relative to every level's map, padding included: [B, Q, L, 4]."""
    spread = boxes.unsqueeze(2).expand(-1, -1, len(memory.shapes), -1)
    if memory.ratios is None:
        return spread
    return spread * torch.cat((memory.ratios, memory.ratios), -1).unsqueeze(1)
