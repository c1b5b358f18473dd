"""Programs that are evaluated, the objects that they explain, and their scores of these."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from lrpc.commands.evaluate.likeness import check_outputs, likeness
from lrpc.commands.evaluate.truth import Framed
from lrpc.commands.session.facts import Facts
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.members import Member, member, names_of
from lrpc.errors import ProgramError
from lrpc.program.loading import load_program
from lrpc.program.protocol import Detection, Size


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
    it, of class `label`."""

    pixels: Tensor
    attended: Size
    detection: Detection
    label: int

    @property
    def frame(self) -> Size:
        """The (H, W) of the network's input."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[2])


def scores(model: Member, trials: Iterable[Trial], batch: int) -> list[float]:
    """The score of every trial, `batch` images at a time: how much any query is its object, or how
    much the model without queries sees its class there."""
    found: list[float] = []
    for some in in_batches(trials, batch):
        state = model.forward(torch.stack([t.pixels for t in some]), [t.attended for t in some])
        for b, trial in enumerate(some):
            outputs = model.framed(state, b, trial.attended, trial.frame)
            classes = model.facts.class_count
            held = likeness(outputs, trial.detection, trial.label, trial.frame, classes)
            found.append(float(held.max()))
    return found


def scores_of_one(model: Member, trials: Sequence[Trial]) -> list[float]:
    """The scores of several objects in one changed image, from one forward pass."""
    first = trials[0]
    state = model.forward(first.pixels[None], [first.attended])
    outputs = model.framed(state, 0, first.attended, first.frame)
    classes = model.facts.class_count
    return [float(likeness(outputs, t.detection, t.label, t.frame, classes).max()) for t in trials]


def class_count(manifest: Mapping[str, Any]) -> int | None:
    """How many classes a program's logits have; None where its manifest does not say."""
    outputs = manifest.get("outputs", {})
    for name in ("pred_logits", "logits", "region_logits"):
        if match := re.fullmatch(r".*,(\d+)\]", str(outputs.get(name))):
            return int(match[1])
    return None


def load_models(directory: Path, device: str, label: str = "") -> list[Member]:
    """Every composite of the program of `directory`, named as in all results, loaded once; raises
    ProgramError where relevance cannot start at the logits of classes."""
    program = load_program(directory, device)
    names = names_of(label, program.manifest).items()
    found = [member(name, program, device, own, directory) for name, own in names]
    for one in found:
        _check(directory, one.facts)
    return found


def load_model(directory: Path, name: str, device: str) -> Member:
    """Load the program of `directory`; the model is its first composite, called `name`.

    Raises ProgramError if relevance cannot start at the logits of classes.
    """
    return replace(load_models(directory, device)[0], name=name)


def _check(directory: Path, facts: Facts) -> None:
    try:
        check_outputs(facts)
    except ProgramError as error:
        raise ProgramError(f"{directory}: {error}") from error


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` neighbours of one frame, in their order; the last of a frame perhaps
    shorter."""
    for _, alike in groupby(items, key=lambda item: item.frame):
        while some := list(islice(alike, size)):
            yield some
