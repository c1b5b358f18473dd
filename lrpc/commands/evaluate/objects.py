"""Which annotated objects take part: those that are detected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lrpc.commands.evaluate.likeness import TARGETS, target_of
from lrpc.commands.evaluate.match import match
from lrpc.commands.evaluate.model import Picture, Subject
from lrpc.commands.evaluate.outlines import ScenesError
from lrpc.commands.evaluate.settings import Settings
from lrpc.commands.evaluate.truth import Annotated, frame_truth
from lrpc.commands.session.batches import process
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.members import Member
from lrpc.commands.session.terminal import line
from lrpc.commands.session.units import count
from lrpc.commands.session.writing import Outcome
from lrpc.program.protocol import Detection
from lrpc.support.files import shown
from lrpc.support.log import LOG

_DETECTIONS = 100


@dataclass(frozen=True, eq=False)
class Found:
    """The pictures with detected objects; names of objects that were not detected, or of which
    nothing was left at the network's resolution; images that could not be read, with the reason."""

    pictures: tuple[Picture, ...]
    unmatched: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def subjects(self) -> int:
        """How many objects there are to explain."""
        return sum(len(picture.subjects) for picture in self.pictures)


def find(
    model: Member, scenes: Sequence[Annotated], settings: Settings, *, debug: bool = False
) -> Found:
    """Detect objects and match them with the annotations, up to `settings.limit` objects.

    Raises ScenesError if no object is detected.
    """
    work = _Finding(model, settings, settings.limit or -1)
    jobs = ((scene.path, scene) for scene in scenes if work.room)  # read one after the other
    sizing = replace(model.facts.sizing, pad=settings.pad)
    process(jobs, work, sizing, settings.batch, debug=debug)
    if not work.pictures and len(work.failed) == len(scenes):
        raise ScenesError(f"no image could be used; the first: {work.failed[0]}")
    if not work.pictures:
        raise ScenesError(
            f"none of {len(work.unmatched)} objects is detected with a score above "
            f"{settings.score:g} and IoU of {settings.iou:g} or more; lower --score or --iou, or "
            "check that the scenes' classes are the program's"
        )
    pictures = sorted(work.pictures, key=lambda picture: picture.frame)  # one size together
    return Found(tuple(pictures), tuple(work.unmatched), tuple(work.failed))


@dataclass
class _Finding:
    """Detections of each image, and what of its objects they are; `room` is for how many objects
    more (-1: all)."""

    model: Member
    settings: Settings
    room: int
    pictures: list[Picture] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def explain(
        self, images: Sequence[LoadedImage], scenes: Sequence[Annotated]
    ) -> list[list[Detection]]:
        """What is detected in each image of a batch."""
        state = self.model.forward_of(images)
        return self.model.detections(state, images, self.settings.score, _DETECTIONS)

    def keep(self, image: LoadedImage, scene: Annotated, result: list[Detection]) -> None:
        """An image's detected objects, as far as there is room, and the names of the others."""
        framed = [frame_truth(truth, image) for truth in scene.objects]
        if self.room == 0:
            return
        seen = [truth for truth in framed if truth is not None]
        kind, by = target_of(self.model.facts), self.settings.match
        by = "class" if kind == "class" else by
        matched = match(seen, result, self.settings.iou, by, of_classes=kind != TARGETS[0])
        pairs = zip(seen, matched, strict=True)
        subjects = tuple(
            Subject(truth, replace(one, original_mask=None))  # thousands would fill the memory
            for truth, one in pairs
            if one is not None
        )
        found = {subject.truth.name for subject in subjects}
        self.unmatched += [one.name for one in scene.objects if one.name not in found]
        kept = subjects if self.room < 0 else subjects[: self.room]
        self.room -= len(kept) if self.room > 0 else 0
        told = f"{count(len(subjects), 'object')} detected, of {len(scene.objects)}"
        LOG.info("%s: %s", shown(image.path.name), told)
        if kept:
            self.pictures.append(Picture(image, kept))

    def fail(self, scene: Annotated, path: Path, error: str) -> None:
        """An image, or its annotation, that could not be used."""
        self.failed.append(line(Outcome(path, error=error)))
