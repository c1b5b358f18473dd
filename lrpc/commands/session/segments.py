"""Semantic and panoptic results of an image, and what its record says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lrpc.commands.session.facts import Facts
from lrpc.commands.session.images import LoadedImage
from lrpc.models import query_segments
from lrpc.models.maskdino.segments import Segment, Sizes, panoptic, semantic

RESULTS = ("semantic", "panoptic")


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What covers an image on disk: the number of the segment at every pixel, int32 [h, w] (0:
    none), and the segments."""

    kind: str  # semantic or panoptic
    numbers: Tensor
    segments: tuple[Segment, ...]

    def of(self, label: int) -> tuple[Segment, ...]:
        """The segments of a class."""
        return tuple(one for one in self.segments if one.label == label)


def sizes_of(image: LoadedImage) -> Sizes:
    """The frame, what of it is image, and the size on disk."""
    return Sizes(image.frame, image.valid, image.original)


def segmentations(
    outputs: Mapping[str, Tensor], image: LoadedImage, facts: Facts
) -> tuple[Segmentation, ...]:
    """The results of one image that the model's own inference makes, at its size on disk."""
    found = []
    how, sizes = facts.results, sizes_of(image)
    if how.semantic:
        own = query_segments.semantic(outputs, sizes) if how.processor else None
        found.append(of_scores(semantic(outputs, sizes, how) if own is None else own))
    if how.panoptic:
        make = query_segments.panoptic if how.processor else panoptic
        numbers, segments = make(outputs, sizes, how)
        found.append(Segmentation("panoptic", numbers.cpu(), tuple(segments)))
    return tuple(found)


def of_scores(scores: Tensor) -> Segmentation:
    """The best class of every pixel; a segment is all of one class, and scores what its pixels do
    on average."""
    best, labels = scores.max(0)
    present = torch.unique(labels).tolist()
    numbers = torch.zeros_like(labels, dtype=torch.int32)
    segments = []
    for number, label in enumerate(present, 1):
        inside = labels == label
        numbers[inside] = number
        score = float(best[inside].mean())
        segments.append(Segment(number, label, False, score, (), int(inside.sum())))
    return Segmentation("semantic", numbers.cpu(), tuple(segments))


def segments_record(found: Segmentation, facts: Facts) -> list[dict[str, Any]]:
    """Every segment: class, score, area in pixels of the image on disk."""
    pixels = found.numbers.numel()
    return [
        {
            "id": one.id,
            "class": one.label,
            "name": facts.class_name(one.label),
            "score": one.score,
            "area": one.area,
            "share_of_image": one.area / pixels,
            **(
                {"thing": one.thing, "queries": list(one.queries)}
                if found.kind == "panoptic"
                else {}
            ),
        }
        for one in found.segments
    ]
