"""Which detection, if any, is of which annotated object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lrpc.commands.evaluate.truth import Framed
from lrpc.program.protocol import Box, Detection

BY = ("mask", "box")


def match(
    truths: Sequence[Framed], found: Sequence[Detection], threshold: float, by: str = "mask"
) -> list[Detection | None]:
    """For each object the detection of its class that overlaps it most, None below `threshold`.

    Overlap is the intersection over union of masks or boxes. A query is given to one object only;
    the largest overlap chooses first.
    """
    pairs = []
    for i, truth in enumerate(truths):
        for j, one in enumerate(found):
            if one.label == truth.label:
                pairs.append((overlap(truth, one, by), -i, -j))
    result: list[Detection | None] = [None] * len(truths)
    taken: set[int] = set()
    for value, i, j in sorted(pairs, reverse=True):
        query = found[-j].query
        if value >= threshold and result[-i] is None and query not in taken:
            result[-i] = found[-j]
            taken.add(query)
    return result


def overlap(truth: Framed, one: Detection, by: str) -> float:
    """Intersection over union in the part of the frame that is not padding."""
    if by == "box":
        return float(box_iou(torch.tensor([one.box]), truth.box)[0])
    mask = truth.mask.numpy()
    other = one.mask[: mask.shape[0], : mask.shape[1]]
    union = np.logical_or(mask, other).sum()
    return float(np.logical_and(mask, other).sum() / union) if union else 0.0


def box_iou(boxes: Tensor, reference: Box) -> Tensor:
    """Intersection over union of boxes [..., 4] (x0, y0, x1, y1) with one box: [...]."""
    other = boxes.new_tensor(reference)
    low = torch.maximum(boxes[..., :2], other[:2])
    high = torch.minimum(boxes[..., 2:], other[2:])
    common = (high - low).clamp(min=0).prod(-1)
    sizes = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
    union = sizes + (other[2:] - other[:2]).clamp(min=0).prod() - common
    return common / union.clamp(min=torch.finfo(boxes.dtype).tiny)
