"""Objects of one image from a program's outputs, in the frame of the network's input."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lrpc.run.protocol import Box, Detection, Size

_CANDIDATES = 100  # as the released code: the best (query, class) pairs by class probability


def find_detections(
    outputs: Mapping[str, Tensor], frame: Size, valid: Size, score: float, top: int
) -> list[Detection]:
    """At most `top` detections that score above `score`, best first.

    `outputs` hold one image: pred_logits [Q, C], pred_boxes [Q, 4] (cxcywh over the frame),
    pred_masks [Q, h, w]. The score is that of the released instance inference: the class
    probability times the mean mask probability inside the mask, so never above the former.
    """
    logits = outputs["pred_logits"]
    probability = logits.float().sigmoid().flatten()
    best = probability.topk(min(_CANDIDATES, probability.numel()))
    found = []
    for p, flat in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        if p <= score:
            break
        query, label = divmod(flat, logits.shape[1])
        found.append(describe(outputs, frame, valid, query, label))
    found = [one for one in found if one.score > score]
    return sorted(found, key=lambda one: -one.score)[:top]


def describe(
    outputs: Mapping[str, Tensor], frame: Size, valid: Size, query: int, label: int
) -> Detection:
    """One query seen as an object of class `label`, whatever its score."""
    grid = outputs["pred_masks"][query].float()[None, None]
    logits = interpolate(grid, size=frame, mode="bilinear", align_corners=False)[0, 0]
    mask = logits > 0
    mask[valid[0] :] = False
    mask[:, valid[1] :] = False
    inside = float(logits[mask].sigmoid().mean()) if bool(mask.any()) else 0.0
    probability = float(outputs["pred_logits"][query, label].float().sigmoid())
    box = _box(outputs["pred_boxes"][query], frame, valid)
    return Detection(query, label, probability * inside, box, mask.cpu().numpy())


def best_probability(outputs: Mapping[str, Tensor]) -> float:
    """The largest class probability of any query, for saying how far an image was from any."""
    return float(outputs["pred_logits"].float().sigmoid().max())


def strongest_pixel(outputs: Mapping[str, Tensor], query: int, frame: Size, valid: Size) -> Size:
    """(y, x) on the mask grid [h, w] of the largest mask logit of a query, padding left out."""
    grid = outputs["pred_masks"][query]
    height, width = grid.shape
    rows = max(1, int(height * valid[0] / frame[0]))
    columns = max(1, int(width * valid[1] / frame[1]))
    flat = int(torch.argmax(grid[:rows, :columns]))
    return flat // columns, flat % columns


def _box(relative: Tensor, frame: Size, valid: Size) -> Box:
    """cxcywh over the frame → corners in pixels, clipped to what is not padding."""
    cx, cy, w, h = (float(v) for v in relative)
    x0, x1 = ((cx + side * w / 2) * frame[1] for side in (-1, 1))
    y0, y1 = ((cy + side * h / 2) * frame[0] for side in (-1, 1))
    x0, x1 = (min(max(x, 0.0), float(valid[1])) for x in (x0, x1))
    y0, y1 = (min(max(y, 0.0), float(valid[0])) for y in (y0, y1))
    return x0, y0, x1, y1
