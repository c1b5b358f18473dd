"""Attention rollout for MaskDINO, whose attention is dense among queries and deformable else.

Abnar & Zuidema 2020 (2005.00928): a layer with attention matrix A and a skip connection passes
½ (A + 1) on, heads averaged, and layers multiply. Feed-forward parts and norms are left out. Here:

- *Deformable attention* as a matrix: query q gives token n Σ weight · bilinear coefficient over the
  sampling points (heads averaged). Points outside the maps and padded tokens see nothing, so rows
  may sum to less than 1.
- *Decoder*, from the last layer to the first: a query's mass m goes half to the memory tokens it
  looks at and half to itself, then half to the queries it attends to and half to itself.
- *Selection*: with two-stage selection, what remains on a query goes to the memory token that it
  was selected from; learned queries keep it.
- *Encoder*, from the last layer to the first: ½ (A + 1) on tokens.
- *Pixels*: a token's mass spreads evenly over its cell of the image. The backbone has no attention,
  so nothing is finer than its strides.

The map does not depend on the class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.commands.evaluate.methods import Maps
from lrpc.commands.evaluate.model import Picture, in_batches
from lrpc.commands.session.calls import padding_of
from lrpc.models.maskdino import MaskDINO
from lrpc.models.maskdino.decoder import DecoderLayer
from lrpc.models.maskdino.layers import MSDeformAttn, Shapes, sampling_locations
from lrpc.models.maskdino.pixel_decoder import EncoderLayer
from lrpc.program.protocol import Size
from lrpc.runtime.kernels.cells import deform_corners, deform_rows

Inputs = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Sampling:
    """Deformable attention as a sparse matrix: query q sees `token` [B, Q, E] with `weight`
    [B, Q, E], of `tokens` in all."""

    token: Tensor
    weight: Tensor
    tokens: int

    def back(self, mass: Tensor) -> Tensor:
        """Mass on queries [B, S, Q] → mass on tokens [B, S, N], for S subjects."""
        entries = mass.unsqueeze(-1) * self.weight.unsqueeze(1)  # [B, S, Q, E]
        index = self.token.unsqueeze(1).expand_as(entries).flatten(2)
        empty = mass.new_zeros(*mass.shape[:2], self.tokens)
        return empty.scatter_add(2, index, entries.flatten(2))


@dataclass
class Seen:
    """What the attention modules and the class head were called with, in the order of calls."""

    calls: dict[nn.Module, list[tuple[Inputs, Any]]] = field(default_factory=dict)

    def note(self, module: nn.Module, inputs: Inputs, output: Any) -> None:
        self.calls.setdefault(module, []).append((inputs, output))


@dataclass(frozen=True, eq=False)
class Rollout:
    """Attention rollout from a detection's query to the pixels.

    `padding_mask`: whether the programs that detect take one, since queries are numbered by what
    the network sees.
    """

    network: MaskDINO
    batch: int
    padding_mask: bool = False
    name: str = "rollout"
    passes: float = 1  # of the model, for each image

    def maps(self, pictures: Sequence[Picture]) -> Maps:
        """`batch` pictures at a time."""
        found: Maps = []
        for some in in_batches(pictures, self.batch):
            frame = some[0].image.frame
            masses, shapes = self._tokens(some)
            for picture, mass in zip(some, masses.cpu(), strict=True):
                found.append(list(to_pixels(mass[: len(picture.subjects)], shapes, frame)))
        return found

    @torch.no_grad()
    def _tokens(self, pictures: Sequence[Picture]) -> tuple[Tensor, Shapes]:
        """Mass on the encoder's input tokens [B, S, N], and the shapes of its levels."""
        example = next(self.network.parameters())
        images = torch.stack([p.image.pixels for p in pictures]).to(example)
        masks = None
        if self.padding_mask:
            frame = (images.shape[2], images.shape[3])
            masks = padding_of([p.image.attended for p in pictures], frame).to(example.device)
        with _watching(self.network) as seen:
            self.network(images, masks)
        start = images.new_zeros(
            len(pictures), max(len(p.subjects) for p in pictures), self.network.spec.queries
        )
        for b, picture in enumerate(pictures):
            for k, subject in enumerate(picture.subjects):
                start[b, k, subject.detection.query] = 1.0
        shapes: Shapes = seen.calls[_encoder(self.network)[0].self_attn][0][0][3]
        return self.back(seen, start), shapes

    def back(self, seen: Seen, mass: Tensor) -> Tensor:
        """From mass on queries [B, S, Q] to mass on the encoder's input tokens [B, S, N]."""
        return roll_back(self.network, seen, mass)


@dataclass(frozen=True, eq=False)
class CrossAttention(Rollout):
    """What a detection's query looks at in the memory, by deformable cross-attention: weights of
    its sampling points, heads and layers of the decoder averaged. It is the raw attention map."""

    name: str = "cross_attention"

    def back(self, seen: Seen, mass: Tensor) -> Tensor:
        """Mass on queries stays the same through all layers."""
        memory, shapes, layers = mass.new_zeros(()), (), _decoder(self.network)
        for layer in layers:
            ((crossing, _),) = seen.calls[layer.cross_attn]
            shapes = crossing[3]
            memory = memory + sampling(layer.cross_attn, crossing).back(mass) / len(layers)
        return in_order(memory, shapes)


def roll_back(network: MaskDINO, seen: Seen, mass: Tensor) -> Tensor:
    """From mass on the decoder's queries [B, S, Q] to mass on the encoder's input tokens
    [B, S, N], by what one forward pass saw."""
    predictor = network.sem_seg_head.predictor
    memory: Tensor | float = 0.0
    shapes: Shapes = ()
    for layer in reversed(_decoder(network)):
        ((crossing, _),) = seen.calls[layer.cross_attn]
        ((among, _),) = seen.calls[layer.self_attn]
        shapes = crossing[3]
        memory = memory + 0.5 * sampling(layer.cross_attn, crossing).back(mass)
        mass = 0.5 * mass
        weights = layer.self_attn(*among, need_weights=True, average_attn_weights=True)[1]
        mass = 0.5 * (mass + mass @ weights)
    assert isinstance(memory, Tensor)
    if network.spec.two_stage and not network.spec.learned_content:
        scores = seen.calls[predictor.class_embed][0][1].amax(-1)  # [B, N]: the first call selects
        top = scores.topk(network.spec.queries, dim=1)[1]
        memory = memory.scatter_add(2, top.unsqueeze(1).expand_as(mass), mass)
    tokens = in_order(memory, shapes)
    for attention in [layer.self_attn for layer in reversed(_encoder(network))]:
        ((looking, _),) = seen.calls[attention]
        tokens = 0.5 * (tokens + sampling(attention, looking).back(tokens))
    return tokens


def in_order(memory: Tensor, shapes: Shapes) -> Tensor:
    """Mass on the decoder's tokens [B, S, N] as mass on the encoder's, whose levels are in
    reverse."""
    levels = torch.split(memory, [height * width for height, width in shapes], dim=2)
    return torch.cat(levels[::-1], 2)


def sampling(attention: MSDeformAttn, inputs: Inputs) -> Sampling:
    """The matrix of one call of deformable attention, heads averaged."""
    query, references, tokens, shapes = inputs[:4]
    padding = inputs[5] if len(inputs) > 5 else None
    heads, points = attention.n_heads, attention.n_points
    split = (heads, attention.n_levels, points, 2)
    offsets = attention.sampling_offsets(query).unflatten(-1, split)
    weights = attention.attention_weights(query).unflatten(-1, (heads, -1)).softmax(-1)
    weights = weights.unflatten(-1, (attention.n_levels, points))  # [B, Q, M, L, P]
    locations = sampling_locations(references, offsets, shapes).expand_as(offsets)
    levels = tuple(shapes)
    first, coefficient = deform_corners(locations, levels)
    index = deform_rows(first, levels)
    count = tokens.shape[1]
    token = (index.long() // heads % count).flatten(2)  # rows are (image, token, head)
    weight = (coefficient * weights.unsqueeze(-1)).flatten(2) / heads
    if padding is not None:
        seen = padding.gather(1, token.flatten(1)).view_as(token)
        weight = weight.masked_fill(seen, 0.0)
    return Sampling(token, weight, count)


def to_pixels(mass: Tensor, shapes: Shapes, frame: Size) -> Tensor:
    """Mass on tokens [S, N] spread evenly over their cells: [S, H, W], sums kept."""
    parts = torch.split(mass, [height * width for height, width in shapes], dim=1)
    total = mass.new_zeros(len(mass), *frame)
    for part, (height, width) in zip(parts, shapes, strict=True):
        grid = part.view(-1, 1, height, width)
        cells = F.interpolate(torch.ones_like(grid[:1]), frame, mode="nearest")
        rows = torch.arange(height * width).view(1, 1, height, width).to(cells)
        owner = F.interpolate(rows, frame, mode="nearest").long().flatten()
        size = torch.bincount(owner, minlength=height * width).to(mass)
        density = (part / size).view(-1, 1, height, width)
        total += F.interpolate(density, frame, mode="nearest")[:, 0]
    return total


@contextmanager
def _watching(network: MaskDINO) -> Iterator[Seen]:
    """Notes every call of the attention modules and of the class head."""
    modules: list[nn.Module] = [network.sem_seg_head.predictor.class_embed]
    modules += [layer.self_attn for layer in _encoder(network)]
    modules += [m for layer in _decoder(network) for m in (layer.self_attn, layer.cross_attn)]
    seen = Seen()
    with _hooked(modules, seen):
        yield seen


def _encoder(network: MaskDINO) -> list[EncoderLayer]:
    layers = network.sem_seg_head.pixel_decoder.transformer.encoder.layers
    return [cast(EncoderLayer, layer) for layer in layers]


def _decoder(network: MaskDINO) -> list[DecoderLayer]:
    return [cast(DecoderLayer, layer) for layer in network.sem_seg_head.predictor.decoder.layers]


@contextmanager
def _hooked(modules: Sequence[nn.Module], seen: Seen) -> Iterator[None]:
    handles = [module.register_forward_hook(seen.note) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
