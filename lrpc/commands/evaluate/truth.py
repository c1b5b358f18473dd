"""Annotated objects, in their image's own pixels and in the frame of the network's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lrpc.commands.evaluate.outlines import Outline, ScenesError, bounding_box
from lrpc.commands.session.images import LoadedImage
from lrpc.program.protocol import Box


@dataclass(frozen=True)
class Truth:
    """One annotated object: a name of its own, its class, its outline, its box (x0, y0, x1, y1) in
    the image's pixels (None: that of the mask)."""

    name: str
    label: int
    outline: Outline
    box: Box | None = None


@dataclass(frozen=True)
class Annotated:
    """An image file and what is in it."""

    path: Path
    objects: tuple[Truth, ...]


@dataclass(frozen=True, eq=False)
class Framed:
    """An annotated object as the network saw it: `mask` bool [h, w] and box without padding."""

    name: str
    label: int
    mask: Tensor
    box: Box


def frame_truth(truth: Truth, image: LoadedImage) -> Framed | None:
    """The object at the size that the image has inside the network's input; None where nothing is
    left of it. Masks are resized by nearest neighbour."""
    height, width = image.valid
    try:
        mask = truth.outline.mask(image.original)
    except ScenesError as error:
        raise ScenesError(f"{image.path}: object {truth.name}: {error}") from error
    up, aside, tall, wide = image.seen
    if image.valid != image.original or image.window is not None:
        seen = (aside, up, aside + wide, up + tall)
        resized = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST, seen)
        mask = np.asarray(resized, dtype=bool)
    if not mask.any():
        return None
    if truth.box is None:
        box = bounding_box(mask)
    else:
        across, down = width / wide, height / tall
        x0, y0, x1, y1 = truth.box  # what lies outside of the image is no part of the object
        left, right = (min(max((x - aside) * across, 0.0), float(width)) for x in (x0, x1))
        top, bottom = (min(max((y - up) * down, 0.0), float(height)) for y in (y0, y1))
        box = (left, top, right, bottom)
    return Framed(truth.name, truth.label, torch.from_numpy(mask.copy()), box)


def class_index(text: str, names: Sequence[str], place: str) -> int:
    """The class that `text` names, or numbers where no class has that name. Raises ScenesError."""
    if text in names:
        return list(names).index(text)
    if text.isdecimal() and (not names or int(text) < len(names)):
        return int(text)
    known = ", ".join(names) or "numbers from 0"
    raise ScenesError(f"{place}: '{text}' is no class of the program; known: {known}")
