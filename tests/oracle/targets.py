"""Where relevance starts, as the oracles understand it (relevance as it is, not normalised)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassLogit:
    """Logit of class `index` of query `query`."""

    query: int
    index: int


@dataclass(frozen=True)
class MaskLogit:
    """Mask logit of query `query` at row `y`, column `x` of the quarter-resolution map."""

    query: int
    y: int
    x: int


@dataclass(frozen=True)
class Box:
    """Coordinate 0 … 3 (cx, cy, w, h) of the box of query `query`."""

    query: int
    coordinate: int


@dataclass(frozen=True)
class EncoderFeature:
    """Channel `channel` after encoder layer `layer`: of one token, or the mean over tokens."""

    layer: int
    channel: int
    token: int | None = None


@dataclass(frozen=True)
class DecoderQuery:
    """All channels of query `query` after decoder layer `layer` (before the final norm)."""

    layer: int
    query: int


Target = ClassLogit | MaskLogit | Box | EncoderFeature | DecoderQuery


def locate(target: Target) -> str:
    """Name of the tensor that the target lies in, as the forward pass records it."""
    match target:
        case ClassLogit():
            return "pred_logits"
        case MaskLogit():
            return "pred_masks"
        case Box():
            return "pred_boxes"
        case EncoderFeature(layer=layer):
            return f"encoder.layers.{layer}"
        case DecoderQuery(layer=layer):
            return f"decoder.layers.{layer}"


def seed(target: Target, value: Tensor) -> Tensor:
    """Gradient that starts the target, in the shape of its tensor `value`: 1, or 1/N for a mean."""
    start = torch.zeros_like(value)
    match target:
        case ClassLogit(query=query, index=index):
            start[:, query, index] = 1
        case MaskLogit(query=query, y=y, x=x):
            start[:, query, y, x] = 1
        case Box(query=query, coordinate=coordinate):
            start[:, query, coordinate] = 1
        case EncoderFeature(channel=channel, token=None):
            start[:, :, channel] = 1 / value.shape[1]
        case EncoderFeature(channel=channel, token=token):
            start[:, token, channel] = 1
        case DecoderQuery(query=query):
            start[:, query] = 1
    return start
