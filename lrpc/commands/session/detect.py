"""Objects of one image from a program's outputs, in the frame of the network's input."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lrpc.commands.session.classes import best_share, describe_class, find_classes, of_classes
from lrpc.models.maskdino.postprocess import PROBABILITIES, detections
from lrpc.models.maskdino.segments import Sizes
from lrpc.program.protocol import Box, Detection, Size

_CANDIDATES = 100  # as the released code: the best (query, class) pairs by class probability


def find_detections(
    outputs: Mapping[str, Tensor],
    frame: Size,
    valid: Size,
    score: float,
    top: int,
    *,
    original: Size | None = None,
    score_masks: bool = True,
    classes: int = 0,
    things: Collection[int] | None = None,
    per_query: bool = False,
) -> list[Detection]:
    """At most `top` detections that score above `score`, best first.

    `outputs` hold one image: pred_logits [Q, C], and pred_boxes [Q, 4] (cxcywh over the frame),
    pred_masks [Q, h, w] or both. With masks, scores count them at the `original` size (default:
    `valid`), as in the released code; without boxes, a box is that around the mask. The score is
    never above the class probability, so only queries with a class above `score` are looked at;
    masks of the others are not even resized. `classes` says how many there are (0: as many as
    logits); where logits have one more, it stands for no object, and all of them share 1.
    Of the best pairs, only those of classes among `things` count, where these are given. With
    `per_query` a query is one object, of its best class, as it is where there are boxes and logits
    of no object.
    """
    places = Sizes(frame, valid, original or valid)
    if of_classes(outputs):
        return find_classes(outputs, places, score, top)
    outputs = scored(outputs, classes)
    none = outputs["pred_logits"].shape[-1] > outputs[PROBABILITIES].shape[-1]
    if per_query or ("pred_boxes" in outputs and none):
        outputs = _best_class(outputs)
    above = outputs[PROBABILITIES] > score  # [Q, C]
    pairs = min(_CANDIDATES, int(above.sum()))
    if pairs == 0:
        return []
    queries = above.any(dim=1).nonzero()[:, 0]
    found = _detections(outputs, queries, places, pairs, score_masks)
    known = [one for one in found if things is None or one.label in things]
    found = sorted((one for one in known if one.score > score), key=lambda one: -one.score)
    return found[:top]


def describe(
    outputs: Mapping[str, Tensor],
    frame: Size,
    valid: Size,
    query: int,
    label: int,
    original: Size | None = None,
    classes: int = 0,
) -> Detection:
    """One query seen as an object of class `label`, whatever its score."""
    places = Sizes(frame, valid, original or valid)
    if of_classes(outputs):
        return describe_class(outputs, places, label)
    outputs = scored(outputs, classes)
    alone = dict(outputs) | {PROBABILITIES: outputs[PROBABILITIES][:, label : label + 1]}
    queries = torch.tensor([query], device=outputs["pred_logits"].device)
    (one,) = _detections(alone, queries, places, 1, True)
    return replace(one, query=query, label=label)


def _best_class(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Outputs with the probability of each query's best class alone, as DETR has it."""
    shares = outputs[PROBABILITIES]
    best = shares == shares.amax(-1, keepdim=True)
    return {**outputs, PROBABILITIES: shares * best}


def _detections(
    outputs: Mapping[str, Tensor],
    queries: Tensor,
    sizes: Sizes,
    top: int,
    score_masks: bool,
) -> list[Detection]:
    """The best `top` pairs of these queries and any class, masks and boxes in the frame."""
    frame, valid = sizes.frame, sizes.valid
    names = [name for name in (PROBABILITIES, "pred_boxes", "pred_masks") if name in outputs]
    chosen = {name: outputs[name][queries].float()[None] for name in names}
    (found,) = detections(chosen, frame, [valid], top=top, score_masks=False)
    results = []
    for n, label in enumerate(found.labels.tolist()):
        query = int(queries[found.queries[n]])
        # One after the other: all masks of a large photograph at once would take gigabytes.
        k = int(found.queries[n])
        alone = {name: value[:, k : k + 1] for name, value in chosen.items()}
        alone[PROBABILITIES] = alone[PROBABILITIES][..., label : label + 1]
        (one,) = detections(alone, frame, [valid], [sizes.original], score_masks=score_masks)
        mask = there = None
        if found.masks is not None and one.masks is not None:
            mask, there = _framed(found.masks[n], frame, valid), one.masks[0].cpu().numpy()
        box = _clip([float(edge) for edge in found.boxes[n]], valid)
        results.append(Detection(query, label, float(one.scores[0]), box, mask, there))
    return results


def _framed(mask: Tensor, frame: Size, valid: Size) -> NDArray[np.bool_]:
    """A mask of what is visible in the frame."""
    whole = np.zeros(frame, dtype=bool)
    whole[: valid[0], : valid[1]] = mask.cpu().numpy()
    return whole


def _clip(box: list[float], valid: Size) -> Box:
    """Corners in pixels of the frame, brought inside what is not padding."""
    height, width = valid
    x0, x1 = (min(max(x, 0.0), float(width)) for x in box[0::2])
    y0, y1 = (min(max(y, 0.0), float(height)) for y in box[1::2])
    return x0, y0, x1, y1


def best_probability(outputs: Mapping[str, Tensor], classes: int = 0) -> float:
    """The largest class probability of any query, for saying how far an image was from any."""
    if of_classes(outputs):
        return best_share(outputs)
    return float(scored(outputs, classes)[PROBABILITIES].max())


def scored(outputs: Mapping[str, Tensor], classes: int) -> dict[str, Tensor]:
    """Outputs with the probabilities of the classes: a sigmoid of each logit, or a softmax where
    there is one logit more than `classes`, of no object."""
    logits = outputs["pred_logits"].float()  # [..., C]
    none = classes > 0 and logits.shape[-1] == classes + 1
    found = logits.softmax(-1)[..., :-1] if none else logits.sigmoid()
    return {**outputs, PROBABILITIES: found}


def strongest_pixel(outputs: Mapping[str, Tensor], query: int, frame: Size, valid: Size) -> Size:
    """(y, x) on the mask grid [h, w] of the largest mask logit of a query, padding left out."""
    return _largest(outputs["pred_masks"][query], frame, valid)


def strongest_of_class(outputs: Mapping[str, Tensor], label: int, frame: Size, valid: Size) -> Size:
    """(y, x) on the grid of the logits of pixels of a class's largest one, among the pixels where
    it is the largest class if there are any; padding left out."""
    logits = outputs["pixel_logits"]
    own = logits[label] == logits.amax(0)
    grid = logits[label].masked_fill(~own, -torch.inf) if own.any() else logits[label]
    return _largest(grid, frame, valid)


def _largest(grid: Tensor, frame: Size, valid: Size) -> Size:
    height, width = grid.shape
    rows = max(1, int(height * valid[0] / frame[0]))
    columns = max(1, int(width * valid[1] / frame[1]))
    flat = int(torch.argmax(grid[:rows, :columns]))
    return flat // columns, flat % columns
