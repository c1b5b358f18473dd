"""MaskDINO (Li et al. 2023, 2206.02777) for inference, with the released parameter names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.models.fitting import fill
from lrpc.models.maskdino.backbone_specs import BackboneSpec, SwinSpec
from lrpc.models.maskdino.further import further_outputs
from lrpc.models.maskdino.keys import read
from lrpc.models.maskdino.normalize import Normalize
from lrpc.models.maskdino.pixel_decoder import PixelDecoder, Pixels
from lrpc.models.maskdino.predictor import Predictor
from lrpc.models.maskdino.resnet import ResNet
from lrpc.models.maskdino.seeding import Undrawn, seeded_weights
from lrpc.models.maskdino.spec import MaskDINOSpec
from lrpc.models.maskdino.swin import SwinTransformer

#: How a message names the model.
WHAT = "this MaskDINO configuration"


class Head(nn.Module):
    """Pixel decoder and predictor, under the names that checkpoints use."""

    def __init__(self, spec: MaskDINOSpec) -> None:
        super().__init__()
        self.pixel_decoder = PixelDecoder(spec)
        self.predictor = Predictor(spec)

    def forward(
        self, features: dict[str, Tensor], padding_mask: Tensor | None
    ) -> dict[str, Tensor]:
        """Backbone maps → the outputs of the last layer."""
        outputs: dict[str, Tensor] = self.predictor(self.pixel_decoder(features, padding_mask))
        return outputs


class Criterion(nn.Module):
    """Holds the one buffer that the training loss leaves in checkpoints."""

    def __init__(self, spec: MaskDINOSpec) -> None:
        super().__init__()
        weight = torch.ones(spec.classes + 1)
        weight[-1] = spec.no_object_weight
        self.register_buffer("empty_weight", weight)


def _backbone(spec: BackboneSpec) -> nn.Module:
    return SwinTransformer(spec) if isinstance(spec, SwinSpec) else ResNet(spec)


class MaskDINO(nn.Module):
    """The model for inference; build it with `build_maskdino`."""

    def __init__(self, spec: MaskDINOSpec) -> None:
        super().__init__()
        self.spec = spec
        pixels = (torch.tensor(v).view(3, 1, 1) for v in (spec.pixel_mean, spec.pixel_std))
        self.normalize = Normalize(*pixels)
        self.backbone = _backbone(spec.backbone)
        self.sem_seg_head = Head(spec)
        self.criterion = Criterion(spec)

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Images [B, 3, H, W] (RGB, 0–255) → what the last decoder layer predicts.

        `padding_mask` (bool [B, H, W], True = padded) is optional: padded pixels count as mean grey
        and are not attended to. H and W are multiples of 32. Returns `pred_logits` [B, Q, K],
        `pred_boxes` (cx, cy, w, h in [0, 1]) [B, Q, 4] and `pred_masks` [B, Q, H/4, W/4]; where
        targets (LRPC.TARGETS) start from them, `layer_logits.N` and the like of earlier layers,
        `proposal_logits` [B, Q, K], `box_logits` and `box_refinements` [B, Q, 4].
        """
        features = self.backbone(self._pixels(images, padding_mask))
        outputs: dict[str, Tensor] = self.sem_seg_head(features, padding_mask)
        return outputs

    def _pixels(self, images: Tensor, padding_mask: Tensor | None) -> Tensor:
        normalised: Tensor = self.normalize(images)
        if padding_mask is None:
            return normalised
        return normalised.masked_fill(padding_mask.unsqueeze(1), 0.0)

    def intermediates(
        self, images: Tensor, padding_mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What `forward` returns and what it passes through: for tests and inspection.

        `res2` … `res5` [B, C, H, W]; `memory_L` [B, C, H, W] per encoder level; `mask_features`;
        `interm_pred_logits|boxes|masks` of two-stage selection; `auxN_boxes` of earlier layers.
        """
        found: dict[str, Tensor] = dict(self.backbone(self._pixels(images, padding_mask)))
        pixels: Pixels = self.sem_seg_head.pixel_decoder(found, padding_mask)
        for level, (tokens, shape) in enumerate(zip(pixels.memory, pixels.shapes, strict=True)):
            found[f"memory_{level}"] = tokens.transpose(1, 2).reshape(*tokens.shape[::2], *shape)
        found["mask_features"] = pixels.mask_features
        found.update(self.sem_seg_head.predictor.intermediates(pixels))
        return found


def construct_maskdino(config: object) -> MaskDINO:
    """The model that `config` describes, its weights not set yet. Raises ConfigError."""
    spec = MaskDINOSpec.from_config(config)
    targets: Any = read(config, "LRPC.TARGETS", ())
    further = further_outputs(targets, spec.decoder_layers, spec.two_stage)
    with torch.random.fork_rng(devices=[]), Undrawn():  # nobody would see the numbers
        model = MaskDINO(spec)
    model.sem_seg_head.predictor.further = further
    return model


def build_maskdino(config: object, weights: Mapping[str, Tensor] | None = None) -> MaskDINO:
    """The model that `config` describes, in evaluation mode and without parameter gradients.

    `config` is read by attribute access, as detectron2's (`config.MODEL.MaskDINO.DEC_LAYERS`).
    `weights` is a released state dict, as `fill` takes it; without it the weights are
    `seeded_weights`. Raises ConfigError or WeightsError.
    """
    model = construct_maskdino(config)
    fill(model, seeded_weights(model) if weights is None else weights, WHAT)
    return model.eval().requires_grad_(False)
