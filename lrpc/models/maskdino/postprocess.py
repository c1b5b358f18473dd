"""From the model's three outputs to detections, as the released code scores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from lrpc.models.maskdino.boxes import cxcywh_to_xyxy

Size = tuple[int, int]
"""Height, width in pixels."""


@dataclass(frozen=True)
class Detections:
    """The detections of one image, best class score first; `queries` says where each came from."""

    scores: Tensor  # [n], class probability × mean mask probability inside the mask
    labels: Tensor  # [n], class index
    boxes: Tensor  # [n, 4], x0, y0, x1, y1 in pixels of `masks`
    masks: Tensor  # [n, H, W], bool
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

    `padded_size` is the size the model saw; `image_sizes` (default: the same) what of it is image,
    from the top left; `output_sizes` (default: `image_sizes`) the resolution to answer in. Without
    `score_masks` the score is the class probability alone (`TEST_FOUCUS_ON_BOX`).
    """
    logits = outputs["pred_logits"]
    seen = image_sizes if image_sizes is not None else [padded_size] * len(logits)
    wanted = output_sizes if output_sizes is not None else seen
    masks = F.interpolate(
        outputs["pred_masks"], size=padded_size, mode="bilinear", align_corners=False
    )
    found = []
    for index, (image, output) in enumerate(zip(seen, wanted, strict=True)):
        probabilities = logits[index].sigmoid()  # [Q, K]
        kept = min(top, probabilities.numel())
        scores, flat = probabilities.flatten().topk(kept)
        queries = flat // probabilities.shape[-1]
        mask = _resize(masks[index][queries, : image[0], : image[1]], output)
        inside = mask > 0
        if score_masks:
            scores = scores * _mean_inside(mask.sigmoid(), inside)
        height = padded_size[0] / image[0] * output[0]
        width = padded_size[1] / image[1] * output[1]
        boxes = cxcywh_to_xyxy(outputs["pred_boxes"][index][queries])
        boxes = boxes * boxes.new_tensor([width, height, width, height])
        labels = flat % probabilities.shape[-1]
        found.append(Detections(scores, labels, boxes, inside, queries))
    return found


def _resize(masks: Tensor, size: Size) -> Tensor:
    """Mask logits [n, H, W] at another resolution."""
    if tuple(masks.shape[-2:]) == size:
        return masks
    return F.interpolate(masks[None], size=size, mode="bilinear", align_corners=False)[0]


def _mean_inside(probabilities: Tensor, inside: Tensor) -> Tensor:
    """Mean of [n, H, W] where `inside`, 0 for an empty mask: [n]."""
    kept = inside.to(probabilities.dtype).flatten(1)
    return (probabilities.flatten(1) * kept).sum(1) / (kept.sum(1) + 1e-6)
