"""Objects that a model does not find: the query that comes nearest to being each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lrpc.commands.session.classes import of_classes
from lrpc.commands.session.detect import scored
from lrpc.models.maskdino.postprocess import PROBABILITIES
from lrpc.program.protocol import Size

Point = tuple[float, float]


def nearest_query(
    outputs: Mapping[str, Tensor], label: int, point: Point, frame: Size, classes: int = 0
) -> int:
    """The query whose object at a point (x, y) of the network's input is likeliest of class
    `label`: of those whose box is around the point, or whose mask covers it where there are no
    boxes, that with the largest probability of the class; where there is none, the one whose box's
    centre is nearest, or whose mask logit is largest there. 0 of a model without queries."""
    if of_classes(outputs):
        return 0
    shares = scored(outputs, classes)[PROBABILITIES][:, label].float()
    near = _distances(outputs, point, frame)
    around = near <= 0
    if not bool(around.any()):
        return int(near.argmin())
    return int(torch.where(around, shares, -1.0).argmax())


def _distances(outputs: Mapping[str, Tensor], point: Point, frame: Size) -> Tensor:
    """How far each query [Q] is from a point: 0 or below where it is around it."""
    height, width = frame
    if "pred_boxes" in outputs:
        boxes = outputs["pred_boxes"].float()
        off = (boxes.new_tensor([point[0] / width, point[1] / height]) - boxes[:, :2]).abs()
        inside = (off <= boxes[:, 2:] / 2).all(-1)
        return torch.where(inside, 0.0, off.norm(dim=-1))
    masks = outputs["pred_masks"].float()
    rows, columns = masks.shape[1:]
    row, column = int(point[1] * rows / height), int(point[0] * columns / width)
    return -masks[:, min(row, rows - 1), min(column, columns - 1)]


def missed(
    outputs: Mapping[str, Tensor],
    labels: Sequence[int],
    points: Sequence[Point],
    frame: Size,
    classes: int = 0,
) -> list[tuple[int, int]]:
    """(query, class) for every class at every point, each once."""
    pairs = (
        (nearest_query(outputs, label, point, frame, classes), label)
        for point in points or [(0.0, 0.0)]
        for label in labels
    )
    return list(dict.fromkeys(pairs))
