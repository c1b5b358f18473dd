"""Query selection, the decoder, and the heads that read class, box and mask off a query."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lrpc.models.maskdino.boxes import inverse_sigmoid, xyxy_to_cxcywh
from lrpc.models.maskdino.decoder import Decoder, Memory
from lrpc.models.maskdino.further import BOX_LOGITS, PROPOSALS, REFINEMENTS
from lrpc.models.maskdino.layers import MLP
from lrpc.models.maskdino.mask_boxes import masks_to_boxes
from lrpc.models.maskdino.pixel_decoder import Pixels
from lrpc.models.maskdino.positions import proposals, valid_ratios
from lrpc.models.maskdino.spec import MaskDINOSpec


class Start(NamedTuple):
    """Where the decoder starts: content [B, Q, C] and boxes in inverse sigmoids [B, Q, 4].

    `selected` is what two-stage selection took from the memory, and `proposed` the boxes, before
    any detaching.
    """

    queries: Tensor
    boxes: Tensor
    selected: Tensor | None
    proposed: Tensor


class Predictor(nn.Module):
    """Memory and pixel embedding → class logits, boxes and mask logits of every query."""

    def __init__(self, spec: MaskDINOSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.width
        if not spec.two_stage or spec.learned_content:
            self.query_feat = nn.Embedding(spec.queries, width)
        if spec.two_stage:
            self.enc_output = nn.Linear(width, width)
            self.enc_output_norm = nn.LayerNorm(width)
        else:
            self.query_embed = nn.Embedding(spec.queries, 4)
        self.input_proj = nn.ModuleList()
        if spec.project_memory:
            self.input_proj.extend(
                nn.Conv2d(spec.encoder_width, width, 1) for _ in range(spec.levels)
            )
        self.class_embed = nn.Linear(width, spec.class_rows)
        self.label_enc = nn.Embedding(spec.classes, width)  # for denoising in training only
        self.mask_embed = MLP((width, width, width, spec.mask_width))
        self.decoder_norm = nn.LayerNorm(width)
        self._bbox_embed = MLP((width, width, width, 4))
        self.bbox_embed = nn.ModuleList(self._bbox_embed for _ in range(spec.decoder_layers))
        self.decoder = Decoder(spec, self.decoder_norm, self.bbox_embed)
        self.further: tuple[str, ...] = ()  # names of outputs that targets start from

    def forward(self, pixels: Pixels) -> dict[str, Tensor]:
        """Outputs of the last layer: `pred_logits`, `pred_boxes`, `pred_masks`; and the `further`
        ones."""
        memory = self.memory(pixels)
        start = self.start(memory, pixels)
        states, references = self.decoder(start.queries, start.boxes.sigmoid(), memory)
        hidden = self.decoder.norm(states[-1])
        return {
            "pred_logits": self.classes(hidden),
            "pred_boxes": self.box(hidden, references[-1], -1),
            "pred_masks": self.masks(hidden, pixels.mask_features),
            **{
                name: self._further(name, start, states, references, pixels)
                for name in self.further
            },
        }

    def _further(
        self,
        name: str,
        start: Start,
        states: list[Tensor],
        references: list[Tensor],
        pixels: Pixels,
    ) -> Tensor:
        """An output beside the last layer's."""
        if name == PROPOSALS:
            assert start.selected is not None  # further_outputs has seen to it
            return self.classes(start.selected)
        if name == REFINEMENTS:
            return self._refinement(states, len(states) - 1)
        if name == BOX_LOGITS:
            steps = [self._refinement(states, layer) for layer in range(len(states))]
            return start.proposed + sum(steps[1:], steps[0])
        kind, _, number = name.partition(".")
        layer = int(number)
        hidden = self.decoder.norm(states[layer])
        if kind == "layer_boxes":
            return self.box(hidden, references[layer], layer)
        masks = kind == "layer_masks"
        return self.masks(hidden, pixels.mask_features) if masks else self.classes(hidden)

    def _refinement(self, states: list[Tensor], layer: int) -> Tensor:
        """How far a layer moves the boxes, in inverse sigmoids [B, Q, 4]; the last one's queries
        are normed first."""
        last = layer == len(states) - 1
        step: Tensor = self.bbox_embed[layer](
            self.decoder.norm(states[layer]) if last else states[layer]
        )
        return step

    def intermediates(self, pixels: Pixels) -> dict[str, Tensor]:
        """What `forward` returns, `interm_*` of the selection and `auxN_*` of earlier layers."""
        memory = self.memory(pixels)
        start = self.start(memory, pixels)
        found = {}
        if start.selected is not None:
            picked, delta = start.selected, self._box_logits(memory, pixels)
            found["interm_pred_logits"] = self.classes(picked)
            found["interm_pred_boxes"] = delta.sigmoid()
            found["interm_pred_masks"] = self.masks(picked, pixels.mask_features)
        states, references = self.decoder(start.queries, start.boxes.sigmoid(), memory)
        hidden = [self.decoder.norm(state) for state in states]
        boxes = [self.box(h, references[i], i) for i, h in enumerate(hidden)]
        if self.spec.initial_prediction:
            boxes.insert(0, start.boxes.sigmoid())
        found.update({f"aux{index}_boxes": box for index, box in enumerate(boxes[:-1])})
        found["pred_logits"] = self.classes(hidden[-1])
        found["pred_boxes"] = boxes[-1]
        found["pred_masks"] = self.masks(hidden[-1], pixels.mask_features)
        return found

    def memory(self, pixels: Pixels) -> Memory:
        """The encoder's levels in the decoder's order, which is the reverse."""
        tokens = []
        for index, level in enumerate(pixels.memory):
            if self.spec.project_memory:
                as_map = level.transpose(1, 2).unsqueeze(-1)  # [B, C, N, 1]
                level = self.input_proj[index](as_map).squeeze(-1).transpose(1, 2)
            tokens.append(level)
        shapes = pixels.shapes[::-1]
        joined = torch.cat(tokens[::-1], 1)
        if pixels.masks is None:
            return Memory(joined, shapes, None, None)
        masks = pixels.masks[::-1]
        padding = torch.cat([mask.flatten(1) for mask in masks], 1)
        return Memory(joined, shapes, padding, valid_ratios(shapes, masks, joined))

    def start(self, memory: Memory, pixels: Pixels) -> Start:
        """Learned queries, or the tokens whose best class scores highest."""
        batch = memory.tokens.shape[0]
        if not self.spec.two_stage:
            content = self.query_feat.weight.unsqueeze(0).expand(batch, -1, -1)
            boxes = self.query_embed.weight.unsqueeze(0).expand(batch, -1, -1)
            return Start(content, boxes, None, boxes)
        selected, top, logits = self._select(memory, pixels)
        if self.spec.box_init == "no":
            boxes = self._proposed(selected, top, logits)
        else:
            boxes = self._boxes_of_masks(self.masks(selected, pixels.mask_features).detach())
        content = selected.detach()
        if self.spec.learned_content:
            content = self.query_feat.weight.unsqueeze(0).expand(batch, -1, -1)
        return Start(content, boxes.detach(), selected, boxes)

    def _select(self, memory: Memory, pixels: Pixels) -> tuple[Tensor, Tensor, Tensor]:
        """Selected tokens [B, Q, C], their indices [B, Q], and all proposals [1 or B, N, 4]."""
        masks = None if pixels.masks is None else pixels.masks[::-1]
        logits, valid = proposals(memory.shapes, masks, memory.tokens)
        candidates = memory.tokens.masked_fill(torch.logical_not(valid), 0.0)
        candidates = self.enc_output_norm(self.enc_output(candidates))
        scores = self.class_embed(candidates).amax(-1)  # [B, N]
        top = torch.topk(scores, self.spec.queries, dim=1)[1]
        return _rows(candidates, top), top, logits

    def _box_logits(self, memory: Memory, pixels: Pixels) -> Tensor:
        """Boxes that the selected tokens propose themselves, in inverse sigmoids [B, Q, 4]."""
        selected, top, logits = self._select(memory, pixels)
        return self._proposed(selected, top, logits)

    def _proposed(self, selected: Tensor, top: Tensor, logits: Tensor) -> Tensor:
        """Boxes of the selected tokens, a step from their proposals [1 or B, N, 4]: [B, Q, 4]."""
        step: Tensor = self._bbox_embed(selected)
        return step + _rows(logits.expand(top.shape[0], -1, -1), top)

    def _boxes_of_masks(self, masks: Tensor) -> Tensor:
        """Boxes around mask logits [B, Q, H, W] > 0, in inverse sigmoids [B, Q, 4]."""
        height, width = masks.shape[-2], masks.shape[-1]
        corners = masks_to_boxes(masks > 0, self.spec.box_init).to(masks.dtype)
        size = torch.tensor([width, height, width, height], dtype=masks.dtype, device=masks.device)
        return inverse_sigmoid(xyxy_to_cxcywh(corners) / size)

    def classes(self, hidden: Tensor) -> Tensor:
        """Class logits [B, Q, K] of queries [B, Q, C]; the norm is applied here, again."""
        logits: Tensor = self.class_embed(self.decoder_norm(hidden))
        return logits

    def masks(self, hidden: Tensor, mask_features: Tensor) -> Tensor:
        """Mask logits [B, Q, H/4, W/4] of queries [B, Q, C]; the norm is applied here, again."""
        embedded = self.mask_embed(self.decoder_norm(hidden))
        return torch.einsum("bqc,bchw->bqhw", embedded, mask_features)

    def box(self, hidden: Tensor, reference: Tensor, layer: int) -> Tensor:
        """Box (cx, cy, w, h) [B, Q, 4] in [0, 1], a step from `reference` in inverse sigmoids."""
        step: Tensor = self.bbox_embed[layer](hidden)
        return (step + inverse_sigmoid(reference)).sigmoid()


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows of `values` [B, N, C] named by `index` [B, Q]: [B, Q, C]."""
    return torch.gather(values, 1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
