"""Semantic and panoptic results, as the image processors of transformers make them of queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.models.maskdino.segments import Results, Segment, Sizes

_INSIDE = 0.5  # probability, times the score, above which a pixel belongs to a mask


def semantic(outputs: Mapping[str, Tensor], sizes: Sizes) -> Tensor:
    """Scores of the classes at every pixel [C, h, w]: each mask's probability times the class
    probabilities of its query, summed and then resized; `outputs` are of one image."""
    shares = outputs["pred_logits"].float().softmax(-1)[:, :-1]
    masks = outputs["pred_masks"].float().sigmoid()
    return _resized(torch.einsum("qc,qhw->chw", shares, masks), sizes)


def panoptic(
    outputs: Mapping[str, Tensor], sizes: Sizes, how: Results
) -> tuple[Tensor, list[Segment]]:
    """The number of the segment at every pixel (0: none), int32 [h, w], and the segments; `outputs`
    are of one image.

    Each pixel goes to the mask that is likeliest there, its score included; a mask of which too
    little is left (`overlap`) is dropped. Segments of classes that are no things become one.
    """
    best, labels = outputs["pred_logits"].float().softmax(-1).max(-1)
    none = outputs["pred_logits"].shape[-1] - 1
    queries = ((labels != none) & (best > how.threshold)).nonzero()[:, 0]
    found = torch.zeros(sizes.original, dtype=torch.int32, device=best.device)
    most, owner = torch.zeros_like(found, dtype=torch.float32), torch.zeros_like(found) - 1
    for n, here in enumerate(_scored(outputs, queries, best, sizes)):
        above = here > most if n else torch.ones_like(here, dtype=torch.bool)
        most, owner = torch.where(above, here, most), owner.masked_fill(above, n)
    segments: dict[int, Segment] = {}
    merged: dict[int, int] = {}  # class without things → its segment
    for n, here in enumerate(_scored(outputs, queries, best, sizes)):
        own, whole = owner == n, int((here >= _INSIDE).sum())
        area = int(own.sum())
        if not area or not whole or not area / whole > how.overlap:
            continue
        query, label = int(queries[n]), int(labels[queries[n]])
        thing = how.things is None or label in how.things
        number = len(segments) + 1 if thing else merged.setdefault(label, len(segments) + 1)
        score = float(best[query])
        before = segments.get(number, Segment(number, label, thing, score))
        found[own] = number
        segments[number] = Segment(
            number, label, thing, max(before.score, score), (*before.queries, query),
            before.area + area,
        )  # fmt: skip
    return found, list(segments.values())


def _scored(
    outputs: Mapping[str, Tensor], queries: Tensor, scores: Tensor, sizes: Sizes
) -> Iterator[Tensor]:
    """The probabilities of each mask times its score, one mask after the other."""
    for query in queries:
        mask = outputs["pred_masks"][query].float().sigmoid()
        yield _resized(mask[None], sizes)[0] * scores[query]


def _resized(maps: Tensor, sizes: Sizes) -> Tensor:
    """What of the maps is image, at the resolution to answer in."""
    ends = zip(maps.shape[1:], sizes.valid, sizes.frame, strict=True)
    rows, columns = (max(1, round(n * valid / frame)) for n, valid, frame in ends)
    return F.interpolate(
        maps[None, :, :rows, :columns], size=sizes.original, mode="bilinear", align_corners=False,
        antialias=True,
    )[0]  # fmt: skip
