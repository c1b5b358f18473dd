"""From the model's three outputs to detections, as the released code scores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.models.maskdino.boxes import cxcywh_to_xyxy

PROBABILITIES = "probabilities"  # of classes, where they are not the sigmoids of `pred_logits`
Size = tuple[int, int]
"""Height, width in pixels."""


@dataclass(frozen=True)
class Detections:
    """The detections of one image, best class score first; `queries` says where each came from."""

    scores: Tensor  # [n], class probability × mean mask probability inside the mask
    labels: Tensor  # [n], class index
    boxes: Tensor  # [n, 4], x0, y0, x1, y1 in pixels of `masks`
    masks: Tensor | None  # [n, H, W], bool
    queries: Tensor  # [n], query index


def detections(
    outputs: Mapping[str, Tensor],
    padded_size: Size,
    image_sizes: list[Size] | None = None,
    output_sizes: list[Size] | None = None,
    *,
    top: int = 100,
    score_masks: bool = True,
) -> list[Detections]:
    """The `top` pairs of query and class of every image of a batch.

    `outputs` hold `pred_logits` [B, Q, C] or probabilities, `pred_masks` or `pred_boxes` or both.
    Without boxes, a box is that around its mask. `padded_size` is the size the model saw;
    `image_sizes` (default: the same) what of it is image, from the top left; `output_sizes`
    (default: `image_sizes`) the resolution to answer in. Without `score_masks` the score is the
    class probability alone (`TEST_FOUCUS_ON_BOX`).
    """
    scored = outputs.get(PROBABILITIES)
    scored = outputs["pred_logits"].sigmoid() if scored is None else scored  # [B, Q, C]
    seen = image_sizes if image_sizes is not None else [padded_size] * len(scored)
    wanted = output_sizes if output_sizes is not None else seen
    masks = outputs.get("pred_masks")
    if masks is not None:
        masks = F.interpolate(masks, size=padded_size, mode="bilinear", align_corners=False)
    found = []
    for index, (image, output) in enumerate(zip(seen, wanted, strict=True)):
        probabilities = scored[index]
        kept = min(top, probabilities.numel())
        scores, flat = probabilities.flatten().topk(kept)
        queries = flat // probabilities.shape[-1]
        inside = None
        if masks is not None:
            mask = _resize(masks[index][queries, : image[0], : image[1]], output)
            inside = mask > 0
            if score_masks:
                scores = scores * _mean_inside(mask.sigmoid(), inside)
        height = padded_size[0] / image[0] * output[0]
        width = padded_size[1] / image[1] * output[1]
        if "pred_boxes" in outputs:
            boxes = cxcywh_to_xyxy(outputs["pred_boxes"][index][queries])
            boxes = boxes * boxes.new_tensor([width, height, width, height])
        else:
            boxes = _around(inside)
        labels = flat % probabilities.shape[-1]
        found.append(Detections(scores, labels, boxes, inside, queries))
    return found


def _around(masks: Tensor | None) -> Tensor:
    """Boxes around masks [n, H, W], of zeros where a mask is empty: [n, 4]."""
    assert masks is not None
    boxes = torch.zeros(len(masks), 4)
    for n, mask in enumerate(masks):
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        if len(rows):
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            boxes[n] = torch.stack([edge.float() for edge in edges])
    return boxes


def _resize(masks: Tensor, size: Size) -> Tensor:
    """Mask logits [n, H, W] at another resolution."""
    if tuple(masks.shape[-2:]) == size:
        return masks
    return F.interpolate(masks[None], size=size, mode="bilinear", align_corners=False)[0]


def _mean_inside(probabilities: Tensor, inside: Tensor) -> Tensor:
    """Mean of [n, H, W] where `inside`, 0 for an empty mask: [n]."""
    kept = inside.to(probabilities.dtype).flatten(1)
    return (probabilities.flatten(1) * kept).sum(1) / (kept.sum(1) + 1e-6)
