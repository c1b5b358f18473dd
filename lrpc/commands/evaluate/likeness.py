"""How much a model, in an image that was changed, still sees an object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.commands.session.classes import of_classes
from lrpc.commands.session.contrasts import Against, contrast
from lrpc.commands.session.detect import scored
from lrpc.commands.session.facts import Facts
from lrpc.commands.session.metrics import box_iou
from lrpc.commands.session.seeds import Seed
from lrpc.errors import ProgramError
from lrpc.models.maskdino.boxes import cxcywh_to_xyxy
from lrpc.models.maskdino.postprocess import PROBABILITIES
from lrpc.program.protocol import Box, Detection, Size

#: What relevance starts from: the first of them that a program was compiled for.
TARGETS = ("class_logit", "class", "class_region")


def target_of(facts: Facts) -> str:
    """The target of a program that is evaluated; ProgramError where it has none."""
    places = facts.places.of
    found = next((name for name in TARGETS if name in places), None if places else TARGETS[0])
    if found is None:
        raise ProgramError(
            f"not compiled for the target {TARGETS[0]} (it has: {', '.join(places)}); add it to"
            " LRPC.TARGETS and compile again"
        )
    return found


def check_outputs(facts: Facts) -> None:
    """ProgramError where objects cannot be found again in images that were changed."""
    if target_of(facts) == TARGETS[0] and not set(facts.outputs) & {"pred_boxes", "pred_masks"}:
        raise ProgramError(
            "objects are found again by their boxes or masks, and it has neither; its outputs are"
            f" {', '.join(facts.outputs)}"
        )


def seed_of(facts: Facts, query: int, label: int) -> Seed:
    """Where the relevance of an object starts."""
    kind = target_of(facts)
    return Seed(kind, None, (query, label) if kind == TARGETS[0] else (label,))


def contrasted(seed: Seed, outputs: Mapping[str, Tensor], against: str, classes: int) -> Seed:
    """The same against other classes: `contrast` says which words there are."""
    values = outputs[seed.output]
    start = contrast(values, seed.index, against, classes=min(classes, values.shape[-1]))
    return replace(seed, value=float(start.sum()), start=start, against=Against(against))


def logits_of(outputs: Mapping[str, Tensor], query: int) -> Tensor:
    """The logits of the classes [C] that the relevance of a query starts from."""
    if "pred_logits" in outputs:
        return outputs["pred_logits"][query]
    return outputs["region_logits"] if "region_logits" in outputs else outputs["logits"]


def likeness(
    outputs: Mapping[str, Tensor], one: Detection, label: int, frame: Size, classes: int
) -> Tensor:
    """How much each query [Q] of one image's outputs is an object; of a model without queries, the
    one number [1].

    That is the overlap of a query's box with the object's, of their masks where there are no boxes,
    times the probability of the class. A model that classifies pixels has the mean probability over
    the object's pixels, one that classifies images that of the class.
    """
    if of_classes(outputs):
        if "logits" in outputs:
            return outputs["logits"].float().softmax(-1)[label : label + 1]
        inside = _on_grid(one, outputs["pixel_logits"])
        return outputs["pixel_logits"].float().softmax(0)[label][inside].mean()[None]
    shares = scored(outputs, classes)[PROBABILITIES]
    if "pred_boxes" in outputs:
        return similarity(shares, outputs["pred_boxes"], one.box, label, frame)
    masks, inside = outputs["pred_masks"] > 0, _on_grid(one, outputs["pred_masks"])
    both, either = (masks & inside).sum((1, 2)), (masks | inside).sum((1, 2))
    return both / either.clamp(min=1) * shares[:, label].float()


def similarity(shares: Tensor, boxes: Tensor, box: Box, label: int, frame: Size) -> Tensor:
    """Similarity of queries to an object: IoU of boxes with `box` × probability of `label`, [Q].

    `shares` [Q, C] are probabilities, `boxes` [Q, 4] (cxcywh over the frame), `box` in pixels. Its
    maximum over the queries is the score of an object in an image (D-RISE: Petsiuk et al. 2021,
    2006.03204, with one class in place of the class vector). Two-stage models select their queries
    anew in every image, so that a query's index alone means nothing once the image is changed.
    """
    height, width = frame
    corners = cxcywh_to_xyxy(boxes.float()).clamp(0, 1)
    corners = corners * corners.new_tensor([width, height, width, height])
    return box_iou(corners, box) * shares[:, label].float()


def _on_grid(one: Detection, values: Tensor) -> Tensor:
    """The mask of an object on the grid of `values` [.., h, w], bool [h, w]: where it covers half
    of a cell, or where it covers most."""
    assert one.mask is not None
    mask = torch.from_numpy(one.mask).to(values.device, torch.float32)[None, None]
    covered = F.interpolate(mask, values.shape[-2:], mode="area")[0, 0]
    return covered >= min(0.5, float(covered.max()))
