"""Semantic and panoptic results, as the released code's inference makes them of three outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.models.maskdino.postprocess import Size

_AT_ONCE = 8  # masks that are resized together: all of a large photograph would take gigabytes
_INSIDE = 0.5  # probability above which a pixel belongs to a mask


@dataclass(frozen=True)
class Results:
    """Which results there are, and how they are made: MODEL.MaskDINO.TEST.*, or, of a OneFormer of
    transformers (`processor`), as its image processor makes them.

    `things` are classes whose objects stay apart (None: all); segments of others become one for
    each class. Masks are resized before what is made of them unless `resize_last`.
    """

    semantic: bool = False
    panoptic: bool = False
    threshold: float = 0.0
    overlap: float = 0.0
    temperature: float = 0.06
    sharpen: bool = True
    cross_entropy: bool = False
    resize_last: bool = False
    things: frozenset[int] | None = None
    classes: int = -1  # an entry of the logits at this place stands for no object
    processor: bool = False


@dataclass(frozen=True)
class Sizes:
    """The network's input, what of it is image (top left), and the resolution to answer in."""

    frame: Size
    valid: Size
    original: Size


@dataclass(frozen=True)
class Segment:
    """One segment: its number in the map, class, whether it is a thing, the score of the best of
    the queries that it is from, and its area in pixels."""

    id: int
    label: int
    thing: bool
    score: float
    queries: tuple[int, ...] = field(default=())
    area: int = 0


def semantic(outputs: Mapping[str, Tensor], sizes: Sizes, how: Results) -> Tensor:
    """Scores of the classes at every pixel [C, h, w]: each mask's probability times the class
    probabilities of its query, summed; `outputs` are of one image."""
    shares = class_shares(outputs["pred_logits"], how)
    masks = outputs["pred_masks"].float()
    late = how.resize_last
    total: Tensor | float = 0.0
    for start in range(0, len(masks), _AT_ONCE):
        part = masks[start : start + _AT_ONCE]
        part = _up(part, sizes.frame) if late else resized(part, sizes)
        total = total + torch.einsum(
            "qc,qhw->chw", shares[start : start + _AT_ONCE], part.sigmoid()
        )
    assert isinstance(total, Tensor)
    return _cropped(total, sizes) if late else total


def class_shares(logits: Tensor, how: Results) -> Tensor:
    """Class probabilities of queries [Q, C], as semantic results count them."""
    logits = logits.float()
    return logits.softmax(-1)[:, :-1] if how.cross_entropy else _sharpened(logits.sigmoid(), how)


def panoptic(
    outputs: Mapping[str, Tensor], sizes: Sizes, how: Results
) -> tuple[Tensor, list[Segment]]:
    """The number of the segment at every pixel (0: none), int32 [h, w], and the segments; `outputs`
    are of one image.

    Each pixel goes to the mask that is likeliest there, its score included; a mask of which too
    little is left (`overlap`) is dropped.
    """
    shares = outputs["pred_logits"].float().sigmoid()
    best, labels = shares.max(-1)
    kept = (best > how.threshold) & (labels != how.classes)
    if how.sharpen:
        best, labels = _sharpened(shares, how).max(-1)
    queries = kept.nonzero()[:, 0]
    found = torch.zeros(sizes.original, dtype=torch.int32, device=shares.device)
    if not len(queries):
        return found, []
    owner = _owners(outputs["pred_masks"][queries].float(), best[queries], sizes)
    segments: dict[int, Segment] = {}
    merged: dict[int, int] = {}  # class without things → its segment
    masks = _each(outputs["pred_masks"][queries].float(), sizes)
    for n, (query, mask) in enumerate(zip(queries.tolist(), masks, strict=True)):
        inside = mask.sigmoid() >= _INSIDE
        own = owner == n
        area, whole, mine = int(own.sum()), int(inside.sum()), own & inside
        if not bool(mine.any()) or area / whole < how.overlap:
            continue
        label, score = int(labels[query]), float(best[query])
        thing = how.things is None or label in how.things
        number = len(segments) + 1 if thing else merged.setdefault(label, len(segments) + 1)
        before = segments.get(number, Segment(number, label, thing, score))
        found[mine] = number
        parts, best_score = (*before.queries, query), max(before.score, score)
        segments[number] = Segment(number, label, thing, best_score, parts)
    areas = torch.bincount(found.flatten().long(), minlength=len(segments) + 1).tolist()
    return found, [
        Segment(s.id, s.label, s.thing, s.score, s.queries, areas[s.id]) for s in segments.values()
    ]


def resized(masks: Tensor, sizes: Sizes) -> Tensor:
    """Mask logits [n, h/4, w/4] at the resolution to answer in [n, h, w]."""
    return _cropped(_up(masks, sizes.frame), sizes)


def _owners(masks: Tensor, scores: Tensor, sizes: Sizes) -> Tensor:
    """Which of some masks is likeliest at every pixel, each times its score: int64 [h, w]."""
    most = owner = None
    for n, mask in enumerate(_each(masks, sizes)):
        here = scores[n] * mask.sigmoid()
        if most is None or owner is None:
            most, owner = here, torch.zeros_like(here, dtype=torch.int64)
        else:
            above = here > most
            most, owner = torch.where(above, here, most), owner.masked_fill(above, n)
    assert owner is not None
    return owner


def _each(masks: Tensor, sizes: Sizes) -> Iterator[Tensor]:
    for mask in masks:
        yield resized(mask[None], sizes)[0]


def _up(maps: Tensor, size: Size) -> Tensor:
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]


def _cropped(maps: Tensor, sizes: Sizes) -> Tensor:
    """What of the frame is image, at the resolution to answer in."""
    return _up(maps[:, : sizes.valid[0], : sizes.valid[1]], sizes.original)


def _sharpened(shares: Tensor, how: Results) -> Tensor:
    """Class probabilities, by a softmax with a temperature where they are sharpened."""
    return (shares / how.temperature).softmax(-1) if how.sharpen else shares
