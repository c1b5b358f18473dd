"""Programs that are evaluated, the objects that they explain, and their scores of these."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from lrpc.commands.evaluate.truth import Framed
from lrpc.commands.session.detect import scored
from lrpc.commands.session.facts import Facts
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.members import Member, member, names_of
from lrpc.commands.session.metrics import box_iou
from lrpc.errors import ProgramError
from lrpc.models.maskdino.boxes import cxcywh_to_xyxy
from lrpc.models.maskdino.postprocess import PROBABILITIES
from lrpc.program.loading import load_program
from lrpc.program.protocol import Box, Detection, Size, State

TARGET = "class_logit"


class HasFrame(Protocol):
    """What goes to the network at some size."""

    @property
    def frame(self) -> Size: ...


Item = TypeVar("Item", bound=HasFrame)


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

    @property
    def frame(self) -> Size:
        """The (H, W) of the network's input."""
        return self.image.frame


@dataclass(frozen=True, eq=False)
class Trial:
    """A changed image [3, H, W], what of it a mask of padding leaves, and the object to look for in
    it."""

    pixels: Tensor
    attended: Size
    box: Box
    label: int

    @property
    def frame(self) -> Size:
        """The (H, W) of the network's input."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[2])


def scores(model: Member, trials: Iterable[Trial], batch: int) -> list[float]:
    """The score of every trial, `batch` images at a time: how much any query is its object."""
    found: list[float] = []
    for some in in_batches(trials, batch):
        state = model.forward(torch.stack([t.pixels for t in some]), [t.attended for t in some])
        shares, boxes = probabilities(model, state), state.outputs["pred_boxes"]
        for b, trial in enumerate(some):
            held = similarity(shares[b], boxes[b], trial.box, trial.label, trial.frame)
            found.append(float(held.max()))
    return found


def probabilities(model: Member, state: State) -> Tensor:
    """Of the classes of every query: [B, Q, C]."""
    return scored(state.outputs, model.facts.class_count)[PROBABILITIES]


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


def class_count(manifest: Mapping[str, Any]) -> int | None:
    """How many classes a program's logits have; None where its manifest does not say."""
    match = re.fullmatch(r".*,(\d+)\]", str(manifest.get("outputs", {}).get("pred_logits")))
    return int(match[1]) if match else None


def load_models(directory: Path, device: str, label: str = "") -> list[Member]:
    """Every composite of the program of `directory`, named as in all results, loaded once; raises
    ProgramError where relevance cannot start at class logits, or outputs are not a detector's."""
    program = load_program(directory, device)
    names = names_of(label, program.manifest).items()
    found = [member(name, program, device, own, directory) for name, own in names]
    for one in found:
        _check(directory, one.facts)
    return found


def load_model(directory: Path, name: str, device: str) -> Member:
    """Load the program of `directory`; the model is its first composite, called `name`.

    Raises ProgramError if relevance cannot start at class logits, or outputs are not a detector's.
    """
    return replace(load_models(directory, device)[0], name=name)


def _check(directory: Path, facts: Facts) -> None:
    if facts.places.of and TARGET not in facts.places.of:
        raise ProgramError(
            f"{directory}: not compiled for the target {TARGET} (it has: "
            f"{', '.join(facts.places.of)}); add it to LRPC.TARGETS and compile again"
        )
    missing = [output for output in ("pred_logits", "pred_boxes") if output not in facts.outputs]
    if missing:
        raise ProgramError(
            f"{directory}: objects are found again by their boxes, and it lacks"
            f" {', '.join(missing)}; its outputs are {', '.join(facts.outputs)}"
        )


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` neighbours of one frame, in their order; the last of a frame perhaps
    shorter."""
    for _, alike in groupby(items, key=lambda item: item.frame):
        while some := list(islice(alike, size)):
            yield some
