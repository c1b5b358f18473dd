"""A program as the thing that is evaluated: its forward, its detections, its score of an object."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from lrpc.commands.evaluate.match import box_iou
from lrpc.commands.evaluate.truth import Framed
from lrpc.commands.session.calls import forward
from lrpc.commands.session.facts import Facts, read_facts
from lrpc.commands.session.images import LoadedImage
from lrpc.errors import ProgramError
from lrpc.models.maskdino.boxes import cxcywh_to_xyxy
from lrpc.program.loading import composites_of, load_program, under_composite
from lrpc.program.protocol import Box, Detection, Program, Size, State

TARGET = "class_logit"
_OUTPUTS = ("pred_logits", "pred_boxes", "pred_masks")
Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Subject:
    """An annotated object and the detection of it: what is explained."""

    truth: Framed
    detection: Detection


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as the network takes it, with the objects found in it."""

    image: LoadedImage
    subjects: tuple[Subject, ...]


@dataclass(frozen=True, eq=False)
class Model:
    """One composite of a loaded program, under the name it goes by in the results.

    Those of one program share it, and so its forward pass.
    """

    name: str
    program: Program
    facts: Facts
    device: str
    composite: str | None = None  # of the program's; None is its first

    def forward(self, pixels: Tensor, valid: Sequence[Size]) -> State:
        """Images [B, 3, H, W] in 0–255, `valid` (h, w) of each not padding → outputs and state."""
        return forward(self.program, self.facts, pixels, valid, self.device)

    def score(self, trials: Iterable[Trial], batch: int) -> list[float]:
        """The `object_score` of every trial, `batch` images at a time."""
        scores: list[float] = []
        for some in in_batches(trials, batch):
            state = self.forward(torch.stack([t.pixels for t in some]), [t.valid for t in some])
            logits, boxes = (state.outputs[name] for name in ("pred_logits", "pred_boxes"))
            frame = (some[0].pixels.shape[1], some[0].pixels.shape[2])
            for b, trial in enumerate(some):
                held = similarity(logits[b], boxes[b], trial.box, trial.label, frame)
                scores.append(float(held.max()))
        return scores


@dataclass(frozen=True, eq=False)
class Trial:
    """A changed image [3, H, W], and the object to look for in it."""

    pixels: Tensor
    valid: Size
    box: Box
    label: int


def similarity(logits: Tensor, boxes: Tensor, box: Box, label: int, frame: Size) -> Tensor:
    """How much each query is that object: IoU of its box with `box` × probability of `label`: [Q].

    `logits` [Q, C], `boxes` [Q, 4] (cxcywh over the frame), `box` in pixels. Its maximum over the
    queries is the score of an object in an image (D-RISE: Petsiuk et al. 2021, 2006.03204,
    with one class in place of the class vector). Two-stage models select their queries anew
    in every image, so that a query's index alone means nothing once the image is changed.
    """
    height, width = frame
    corners = cxcywh_to_xyxy(boxes.float()).clamp(0, 1)
    corners = corners * corners.new_tensor([width, height, width, height])
    return box_iou(corners, box) * logits[:, label].float().sigmoid()


def class_count(manifest: Mapping[str, Any]) -> int | None:
    """How many classes a program's logits have; None where its manifest does not say."""
    match = re.fullmatch(r".*,(\d+)\]", str(manifest.get("outputs", {}).get("pred_logits")))
    return int(match[1]) if match else None


def load_models(directory: Path, device: str) -> list[Model]:
    """Every composite of the program of `directory`, by its name, loaded once; raises ProgramError
    where relevance cannot start at class logits, or outputs are not a detector's."""
    program = load_program(directory, device)
    found = []
    for composite in composites_of(program.manifest):
        facts = read_facts(under_composite(program.manifest, composite))
        _check(directory, facts)
        found.append(Model(composite, program, facts, device, composite))
    return found


def _check(directory: Path, facts: Facts) -> None:
    if facts.places.of and TARGET not in facts.places.of:
        raise ProgramError(
            f"{directory}: not compiled for the target {TARGET} (it has: "
            f"{', '.join(facts.places.of)}); add it to LRPC.TARGETS and compile again"
        )
    missing = [output for output in _OUTPUTS if output not in facts.outputs]
    if missing:
        raise ProgramError(f"{directory}: not a MaskDINO program, it lacks {', '.join(missing)}")


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last perhaps shorter."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
