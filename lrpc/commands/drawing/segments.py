"""One picture of a semantic or panoptic result: coloured segments with their names."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from lrpc.commands.drawing import draw
from lrpc.commands.drawing.fonts import length, write
from lrpc.commands.drawing.render import enlarge, enlargement
from lrpc.commands.session.facts import Facts
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.segments import Segmentation, segments_record
from lrpc.results.colour import Pixels
from lrpc.support.files import complete

_COVER = 0.6
_TURN = 0.61803  # of the colour circle from one segment to the next: neighbours are far apart
_NAMED = 0.004  # share of the image below which a segment has no name in the picture


def segmented(
    stem: Path, found: Sequence[Segmentation], image: LoadedImage, facts: Facts
) -> dict[str, Any]:
    """Write the picture of each result; what records say of them, by kind."""
    return {
        one.kind: {
            "file": write_segments(stem, one, image, facts),
            "segments": segments_record(one, facts),
        }
        for one in found
    }


def write_segments(stem: Path, found: Segmentation, image: LoadedImage, facts: Facts) -> str:
    """Write `STEM.semantic.png` or `STEM.panoptic.png`; its name."""
    path = stem.with_name(f"{stem.name}.{found.kind}.png")
    with complete(path) as part:
        picture(found, image.photo(), facts).save(part, format="PNG")
    return path.name


def picture(found: Segmentation, photo: Pixels, facts: Facts) -> Image.Image:
    """The photo in grey under the segments, each in a colour of its own, named in its middle."""
    height, width = photo.shape[:2]
    numbers = _shrunk(found.numbers.numpy(), (height, width))
    grey = photo.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    table = np.array([(255, 255, 255), *(colour_of(one.id) for one in found.segments)], np.float64)
    cover = np.where(numbers > 0, _COVER, 0.0)[..., None]
    mixed = grey[..., None] * (1 - cover) + table[numbers] * cover
    image = enlarge(mixed.round().astype(np.uint8), enlargement(height, width))
    factor = image.width / width
    pen, size = ImageDraw.Draw(image), max(13, round(min(image.size) / 32))
    for one in found.segments:
        inside = numbers == one.id
        if inside.mean() >= _NAMED:
            name = facts.class_name(one.label) or f"class {one.label}"
            _tag(pen, name, _middle(inside), factor, size, image.size)
    return image


def colour_of(number: int) -> tuple[int, int, int]:
    """The colour of a segment."""
    light = (0.95, 0.75)[number % 2]
    r, g, b = colorsys.hsv_to_rgb(number * _TURN % 1.0, 0.75, light)
    return round(255 * r), round(255 * g), round(255 * b)


def _middle(inside: np.ndarray) -> tuple[float, float]:
    """The pixel (x, y) of a segment that is nearest to its centre."""
    y, x = np.nonzero(inside)
    nearest = int(((y - y.mean()) ** 2 + (x - x.mean()) ** 2).argmin())
    return float(x[nearest]) + 0.5, float(y[nearest]) + 0.5


def _tag(
    pen: ImageDraw.ImageDraw,
    name: str,
    at: tuple[float, float],
    factor: float,
    size: int,
    limits: tuple[int, int],
) -> None:
    """A name on paper, inside the picture."""
    wide, high = round(length(name, size)) + 8, round(size * 1.35)
    left = round(min(max(at[0] * factor - wide / 2, 0), max(limits[0] - wide, 0)))
    top = round(min(max(at[1] * factor - high / 2, 0), max(limits[1] - high, 0)))
    pen.rectangle([left, top, left + wide - 1, top + high - 1], fill=draw.PAPER)
    write(pen, (left + 4, top + high / 2), name, draw.INK, size, "lm")


def _shrunk(numbers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map of the image on disk at the size of the photo, by the nearest pixels."""
    rows, columns = (
        (np.arange(new) * 2 + 1) * old // (2 * new)
        for new, old in zip(size, numbers.shape, strict=True)
    )
    picked: np.ndarray = numbers[rows][:, columns]
    return picked
