"""Which annotated objects take part: those that are detected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from lrpc.commands.evaluate.match import match
from lrpc.commands.evaluate.model import Model, Picture, Subject, in_batches
from lrpc.commands.evaluate.outlines import ScenesError
from lrpc.commands.evaluate.settings import Settings
from lrpc.commands.evaluate.truth import Annotated, frame_truth
from lrpc.commands.session.detect import find_detections
from lrpc.commands.session.images import LoadedImage, load_image
from lrpc.errors import ImageError
from lrpc.support.files import shown

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


def find(model: Model, scenes: Sequence[Annotated], settings: Settings) -> Found:
    """Detect objects and match them with the annotations, up to `settings.limit` objects.

    Raises ScenesError if no object is detected.
    """
    pictures: list[Picture] = []
    unmatched: list[str] = []
    failed: list[str] = []
    room = settings.limit or -1
    for some in in_batches(_load(model, scenes, failed), settings.batch):
        for picture, missed in _matched(model, some, settings, failed):
            if room == 0:
                break
            kept = picture.subjects if room < 0 else picture.subjects[:room]
            room -= len(kept) if room > 0 else 0
            unmatched += missed
            if kept:
                pictures.append(replace(picture, subjects=kept))
        if room == 0:
            break
    if not pictures and len(failed) == len(scenes):
        raise ScenesError(f"no image could be read; the first: {failed[0]}")
    if not pictures:
        raise ScenesError(
            f"none of {len(unmatched)} objects is detected with a score above "
            f"{settings.score:g} and IoU of {settings.iou:g} or more; lower --score or --iou, or "
            "check that the scenes' classes are the program's"
        )
    return Found(tuple(pictures), tuple(unmatched), tuple(failed))


def _load(
    model: Model, scenes: Sequence[Annotated], failed: list[str]
) -> Iterator[tuple[Annotated, LoadedImage]]:
    for scene in scenes:
        try:
            image = load_image(scene.path, model.facts.sizing)
        except ImageError as error:
            failed.append(str(error).partition("\n")[0])
            continue
        yield scene, image


def _matched(
    model: Model,
    some: Sequence[tuple[Annotated, LoadedImage]],
    settings: Settings,
    failed: list[str],
) -> Iterator[tuple[Picture, list[str]]]:
    """Each image with its detected objects, and the names of the others; an image whose masks
    cannot be read goes to `failed`."""
    images = [image for _, image in some]
    state = model.forward(torch.stack([i.pixels for i in images]), [i.valid for i in images])
    for b, (scene, image) in enumerate(some):
        outputs = {name: value[b] for name, value in state.outputs.items()}
        masks = model.facts.score_masks
        detections = find_detections(
            outputs, image.frame, image.valid, settings.score, _DETECTIONS, score_masks=masks
        )
        try:
            framed = [frame_truth(truth, image) for truth in scene.objects]
        except ScenesError as error:
            failed.append(f"{shown(scene.path)}: {error}")
            continue
        seen = [truth for truth in framed if truth is not None]
        pairs = list(zip(seen, match(seen, detections, settings.iou, settings.match), strict=True))
        subjects = tuple(Subject(truth, one) for truth, one in pairs if one is not None)
        found = {subject.truth.name for subject in subjects}
        yield Picture(image, subjects), [o.name for o in scene.objects if o.name not in found]
