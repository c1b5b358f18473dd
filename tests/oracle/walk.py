"""One plain walk through MaskDINO, with every operation that relevance cares about left open.

The walk takes its weights from the embedded model's modules and nothing else from its forward code;
an `Algebra` says what each operation computes and what flows back through it. What is a coordinate
(reference points, boxes, query positions) is computed outside of the algebra and detached; so are
top-k indices. No padding mask, and no projection between encoder and decoder.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.models.maskdino import MaskDINO, masks_to_boxes
from lrpc.models.maskdino.positions import (
    box_positions,
    map_positions,
    proposals,
    token_references,
)

Shapes = tuple[tuple[int, int], ...]
Tensors = dict[str, Tensor]


class Algebra(Protocol):
    """What flows through each kind of operation; shapes are those of the plain operations."""

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor: ...
    def conv(self, x: Tensor, weight: Tensor, bias: Tensor | None, like: nn.Conv2d) -> Tensor: ...
    def layer_norm(self, x: Tensor, norm: nn.LayerNorm) -> Tensor: ...
    def group_norm(self, x: Tensor, norm: nn.GroupNorm) -> Tensor: ...
    def relu(self, x: Tensor) -> Tensor: ...
    def add(self, x: Tensor, y: Tensor) -> Tensor: ...
    def place(self, x: Tensor, position: Tensor) -> Tensor: ...
    def resize(self, x: Tensor, size: tuple[int, int]) -> Tensor: ...
    def scale(self, x: Tensor, factor: float) -> Tensor: ...
    def softmax(self, x: Tensor) -> Tensor: ...
    def product(self, equation: str, a: Tensor, b: Tensor) -> Tensor: ...
    def weighted(self, equation: str, probabilities: Tensor, values: Tensor) -> Tensor: ...
    def sample(self, v: Tensor, shapes: Shapes, where: Tensor, weights: Tensor) -> Tensor: ...
    def box(self, step: Tensor, reference: Tensor) -> Tensor: ...
    def coordinates(self, offsets: Tensor) -> Tensor: ...


class Walk:
    """Values of one forward pass by name, with the graph that the algebra built behind them.

    Names: `input`, `res2` … `res5`, `encoder.input`, `encoder.layers.N`, `mask_features`,
    `queries`, `decoder.layers.N`, `pred_logits`, `pred_boxes`, `pred_masks`.
    Tokens are in encoder order.
    """

    def __init__(
        self, model: MaskDINO, images: Tensor, algebra: Algebra, *, follow_queries: bool
    ) -> None:
        """`follow_queries`: what selection takes from the memory flows back to it, as a copy."""
        self.model, self.do, self.follow_queries = model, algebra, follow_queries
        self.values: Tensors = {}
        image = model.normalize(images).detach().requires_grad_()
        self._keep("input", image)
        features = self._backbone(image)
        memory, shapes, mask_features = self._pixel_decoder(features)
        self._predictor(memory, shapes, mask_features)

    def _keep(self, name: str, value: Tensor) -> Tensor:
        self.values[name] = value
        return value

    # -- backbone

    def _conv_bn(self, x: Tensor, conv: Any) -> Tensor:
        """A convolution with its frozen batch norm folded in."""
        bn = conv.norm
        factor = bn.weight / (bn.running_var + bn.eps).sqrt()
        bias = bn.bias - bn.running_mean * factor
        return self.do.conv(x, conv.weight * factor[:, None, None, None], bias, conv)

    def _backbone(self, image: Tensor) -> Tensors:
        backbone = self.model.backbone
        x = self.do.relu(self._conv_bn(image, backbone.stem.conv1))
        x = F.max_pool2d(x, 3, 2, 1)
        features = {}
        for stage in ("res2", "res3", "res4", "res5"):
            block: Any
            for block in backbone.get_submodule(stage).children():
                y = self.do.relu(self._conv_bn(x, block.conv1))
                y = self.do.relu(self._conv_bn(y, block.conv2))
                y = self._conv_bn(y, block.conv3)
                skip = x if block.shortcut is None else self._conv_bn(x, block.shortcut)
                x = self.do.relu(self.do.add(skip, y))
            features[stage] = self._keep(stage, x)
        return features

    # -- pixel decoder

    def _pixel_decoder(self, features: Tensors) -> tuple[Tensor, Shapes, Tensor]:
        decoder = self.model.sem_seg_head.pixel_decoder
        maps, codes = self._levels(features)
        shapes = tuple((m.shape[-2], m.shape[-1]) for m in maps)
        embedding = decoder.transformer.level_embed
        positions = torch.cat([c + embedding[i] for i, c in enumerate(codes)], 1).detach()
        tokens = self._keep("encoder.input", torch.cat([m.flatten(2).mT for m in maps], 1))
        references = token_references(shapes, None, tokens)
        layer: Any
        for index, layer in enumerate(decoder.transformer.encoder.layers):
            query = self.do.place(tokens, positions)
            attended = self._deformable(layer.self_attn, query, references, tokens, shapes)
            tokens = self.do.layer_norm(self.do.add(tokens, attended), layer.norm1)
            tokens = self._feed_forward(layer, tokens, layer.norm2)
            self._keep(f"encoder.layers.{index}", tokens)
        return tokens, shapes, self._mask_features(tokens, shapes, features["res2"])

    def _levels(self, features: Tensors) -> tuple[list[Tensor], list[Tensor]]:
        """Projected maps and their sine codes; extra maps are reversed, extra codes are not."""
        decoder, spec = self.model.sem_seg_head.pixel_decoder, self.model.spec
        names = spec.encoder_features
        below = features[max(names, key=lambda name: features[name].shape[1])]
        maps: list[Tensor] = []
        extras: list[Tensor] = []
        projection: Any
        for index, projection in enumerate(decoder.input_proj):
            source = features[names[index]] if index < len(names) else below
            y = self.do.conv(source, projection[0].weight, projection[0].bias, projection[0])
            y = self.do.group_norm(y, projection[1])
            if index < len(names):
                maps.append(y)
            else:
                extras.append(y)
                below = y
        width = spec.encoder_width
        codes, more = (
            [map_positions(m.shape[-2], m.shape[-1], width, m) for m in group]
            for group in (maps, extras)
        )
        if spec.low_to_high:
            return maps + extras[::-1], codes + more
        return extras[::-1] + maps, more + codes

    def _mask_features(self, tokens: Tensor, shapes: Shapes, res2: Tensor) -> Tensor:
        decoder = self.model.sem_seg_head.pixel_decoder
        finest = 0 if self.model.spec.low_to_high else len(shapes) - 1
        start = sum(h * w for h, w in shapes[:finest])
        height, width = shapes[finest]
        coarse = tokens[:, start : start + height * width].mT.unflatten(2, (height, width))
        lateral = self._conv_norm(res2, decoder.adapter_1)
        raised = self.do.resize(coarse, (lateral.shape[-2], lateral.shape[-1]))
        y = self._conv_norm(self.do.add(lateral, raised), decoder.layer_1)
        last = decoder.mask_features
        y = self.do.conv(self.do.relu(y), last.weight, last.bias, last)
        return self._keep("mask_features", y)

    def _conv_norm(self, x: Tensor, conv: Any) -> Tensor:
        y = self.do.conv(x, conv.weight, conv.bias, conv)
        return y if conv.norm is None else self.do.group_norm(y, conv.norm)

    # -- parts of both transformers

    def _linear(self, x: Tensor, layer: Any) -> Tensor:
        return self.do.linear(x, layer.weight, layer.bias)

    def _mlp(self, x: Tensor, mlp: Any) -> Tensor:
        for index, layer in enumerate(mlp.layers):
            x = self._linear(x if index == 0 else self.do.relu(x), layer)
        return x

    def _feed_forward(self, layer: Any, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        y = self._linear(self.do.relu(self._linear(x, layer.linear1)), layer.linear2)
        return self.do.layer_norm(self.do.add(x, y), norm)

    def _deformable(
        self, attention: Any, query: Tensor, references: Tensor, tokens: Tensor, shapes: Shapes
    ) -> Tensor:
        """`references` [1 or B, Q, L, 2 or 4]; → [B, Q, C]."""
        heads, levels = attention.n_heads, attention.n_levels
        values = self._linear(tokens, attention.value_proj).unflatten(-1, (heads, -1))
        plain = F.linear(query, attention.sampling_offsets.weight, attention.sampling_offsets.bias)
        offsets = self.do.coordinates(plain).unflatten(-1, (heads, levels, -1, 2))
        references = references.detach()[:, :, None, :, None]
        if references.shape[-1] == 2:
            sizes = offsets.new_tensor([(w, h) for h, w in shapes])
            where = references + offsets / sizes[:, None]
        else:
            steps = offsets / attention.n_points * 0.5
            where = references[..., :2] + steps * references[..., 2:]
        scores = self._linear(query, attention.attention_weights).unflatten(-1, (heads, -1))
        weights = self.do.softmax(scores)
        sampled = self.do.sample(values, shapes, where, weights)
        return self._linear(sampled.flatten(2), attention.output_proj)

    def _self_attention(self, attention: Any, query: Tensor, value: Tensor) -> Tensor:
        """Multi-head attention with one tensor as query and key."""
        weights = attention.in_proj_weight.chunk(3)
        biases = attention.in_proj_bias.chunk(3)
        heads = attention.num_heads
        q, k, v = (
            self.do.linear(x, weight, bias).unflatten(-1, (heads, -1)).transpose(1, 2)
            for x, weight, bias in zip((query, query, value), weights, biases, strict=True)
        )
        q = self.do.scale(q, 1 / math.sqrt(q.shape[-1]))
        probabilities = self.do.softmax(self.do.product("bhqd,bhkd->bhqk", q, k))
        y = self.do.weighted("bhqk,bhkd->bhqd", probabilities, v)
        return self._linear(y.transpose(1, 2).flatten(2), attention.out_proj)

    # -- predictor

    def _predictor(self, tokens: Tensor, shapes: Shapes, mask_features: Tensor) -> None:
        predictor, spec = self.model.sem_seg_head.predictor, self.model.spec
        if spec.project_memory:
            raise NotImplementedError("a projection between encoder and decoder")
        sizes = [h * w for h, w in shapes]
        memory = torch.cat(tokens.split(sizes, 1)[::-1], 1)
        shapes = shapes[::-1]
        queries, boxes = self._start(memory, shapes, mask_features)
        self._keep("queries", queries)
        layer: Any
        for index, layer in enumerate(predictor.decoder.layers):
            if index:
                step = predictor.bbox_embed[index - 1](queries)
                boxes = (step + _logit(boxes)).sigmoid().detach()
            position = predictor.decoder.ref_point_head(box_positions(boxes)).detach()
            placed = self.do.place(queries, position)
            attended = self._self_attention(layer.self_attn, placed, queries)
            queries = self.do.layer_norm(self.do.add(queries, attended), layer.norm2)
            placed = self.do.place(queries, position)
            references = boxes[:, :, None].expand(-1, -1, len(shapes), -1)
            looked = self._deformable(layer.cross_attn, placed, references, memory, shapes)
            queries = self.do.layer_norm(self.do.add(queries, looked), layer.norm1)
            queries = self._feed_forward(layer, queries, layer.norm3)
            self._keep(f"decoder.layers.{index}", queries)
        hidden = self.do.layer_norm(queries, predictor.decoder.norm)
        step = self._mlp(hidden, predictor.bbox_embed[-1])
        self._keep("pred_boxes", self.do.box(step, _logit(boxes)))
        normed = self.do.layer_norm(hidden, predictor.decoder_norm)
        self._keep("pred_logits", self._linear(normed, predictor.class_embed))
        embedded = self._mlp(normed, predictor.mask_embed)
        masks = self.do.product("bqc,bchw->bqhw", embedded, mask_features)
        self._keep("pred_masks", masks)

    def _start(self, memory: Tensor, shapes: Shapes, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Content of the queries, with what flows back to the memory, and boxes in [0, 1]."""
        predictor, spec = self.model.sem_seg_head.predictor, self.model.spec
        batch = len(memory)
        if not spec.two_stage:
            content = predictor.query_feat.weight.expand(batch, -1, -1)
            return content, predictor.query_embed.weight.expand(batch, -1, -1).sigmoid()
        anchors, valid = proposals(shapes, None, memory)
        candidates = self._linear(memory.masked_fill(~valid, 0.0), predictor.enc_output)
        candidates = self.do.layer_norm(candidates, predictor.enc_output_norm)
        scores = predictor.class_embed(candidates.detach()).amax(-1)
        top = scores.topk(spec.queries, 1).indices
        batches = torch.arange(batch)[:, None]
        content = candidates[batches, top]
        content = content if self.follow_queries else content.detach()
        with torch.no_grad():
            boxes = predictor._bbox_embed(content) + anchors[0][top]
            if spec.box_init != "no":
                normed = predictor.mask_embed(predictor.decoder_norm(content))
                masks = torch.einsum("bqc,bchw->bqhw", normed, pixels) > 0
                height, width = masks.shape[-2:]
                x0, y0, x1, y1 = masks_to_boxes(masks, spec.box_init).to(boxes.dtype).unbind(-1)
                centre = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height)
                extent = ((x1 - x0) / width, (y1 - y0) / height)
                boxes = _logit(torch.stack((*centre, *extent), -1))
        if spec.learned_content:
            content = predictor.query_feat.weight.expand(batch, -1, -1)
        return content, boxes.sigmoid()


def _logit(x: Tensor) -> Tensor:
    """Inverse sigmoid, a coordinate: nothing flows back."""
    x = x.detach().clamp(0, 1)
    return (x.clamp(min=1e-5) / (1 - x).clamp(min=1e-5)).log()
