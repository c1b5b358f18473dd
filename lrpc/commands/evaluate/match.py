"""Which detection, if any, is of which annotated object."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lrpc.commands.evaluate.truth import Framed
from lrpc.commands.session.metrics import box_iou, mask_iou
from lrpc.program.protocol import Detection


def match(
    truths: Sequence[Framed],
    found: Sequence[Detection],
    threshold: float,
    by: str = "mask",
    of_classes: bool = False,
) -> list[Detection | None]:
    """For each object the detection of its class that overlaps it most, None below `threshold`.

    Overlap is the intersection over union of masks or boxes; `by` class, of a model that classifies
    images, the class is all. A query, or a class of a model without queries, is given to one object
    only; the largest overlap chooses first.
    """
    pairs = []
    for i, truth in enumerate(truths):
        for j, one in enumerate(found):
            if one.label == truth.label:
                pairs.append((overlap(truth, one, by), -i, -j))
    result: list[Detection | None] = [None] * len(truths)
    taken: set[tuple[int, ...]] = set()
    for value, i, j in sorted(pairs, reverse=True):
        one = found[-j]
        query = (one.query, one.label) if of_classes else (one.query,)
        if value >= threshold and result[-i] is None and query not in taken:
            result[-i] = one
            taken.add(query)
    return result


def overlap(truth: Framed, one: Detection, by: str) -> float:
    """Intersection over union in the part of the frame that is not padding."""
    if by == "class":
        return 1.0
    if by == "box" or one.mask is None:
        return float(box_iou(torch.tensor([one.box]), truth.box)[0])
    height, width = truth.mask.shape
    return mask_iou(truth.mask, torch.from_numpy(one.mask[:height, :width]))
