"""The pictures of a report: each image, and of each target a map to lay over it and a thumbnail."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from lrpc.errors import ImageError
from lrpc.results import colour
from lrpc.results.crops import CROPS, Crop, crop_of, crops_of
from lrpc.results.opened import Results
from lrpc.support.files import shown

_THUMB = 200  # pixels of a thumbnail's longer edge
_FINE = 640  # pixels of an outline's longer edge, at least
_COVER = 0.92  # of the image, by relevance in full colour
_OUTLINE = (255, 196, 0, 255)


@dataclass(frozen=True)
class Drawn:
    """What was drawn of a target: where full colour begins, whether it has a mask's outline, its
    relevance in the crops by which classes are compared, the places that were read, and why its
    image is not shown."""

    row: int
    scale: float
    outline: bool
    crops: Mapping[str, Crop] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    gone: str = ""


def draw_image(
    results: Results,
    folder: Path,
    rows: Sequence[tuple[int, dict[str, Any]]],
    edge: int,
    crops: Sequence[str] = CROPS,
) -> list[Drawn]:
    """Draw an image and all of its targets, given with their rows' numbers: `photos/I.webp`,
    `maps/N.webp`, `masks/N.webp`, `thumbs/N.webp`. Classes are compared by their `crops`."""
    number = rows[0][1]["image"]
    about = results.image(number)
    photo, gone = _photo(results, about)
    small = _within(photo.size, edge)
    photo = photo.resize(small, Image.Resampling.LANCZOS) if small != photo.size else photo
    photo.save(folder / "photos" / f"{number:06}.webp", quality=82)
    drawn = (_target(results, folder, n, row, about, photo, crops) for n, row in rows)
    return [replace(one, gone=gone) for one in drawn]


def _photo(results: Results, about: dict[str, Any]) -> tuple[Image.Image, str]:
    """The image, or grey that says why it is not shown: its file is gone, or another one now."""
    try:
        return results.photo(about["image"]), ""
    except ImageError as error:
        why = str(error).removeprefix(f"{shown(about['name'])}: ")
        grey = Image.new("RGB", (about["width"], about["height"]), (128, 128, 128))
        pen, size = ImageDraw.Draw(grey), max(10, min(grey.size) // 20)
        lines = textwrap.wrap(why, max(8, int(grey.width / (0.6 * size))))
        pen.multiline_text((4, 4), "\n".join(lines), (255, 255, 255), ImageFont.load_default(size))
        return grey, why


def _within(size: tuple[int, int], edge: int) -> tuple[int, int]:
    """A size whose longer edge is `edge` at most, its aspect ratio kept."""
    factor = min(1.0, edge / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _target(
    results: Results,
    folder: Path,
    n: int,
    row: dict[str, Any],
    about: dict[str, Any],
    photo: Image.Image,
    crops: Sequence[str],
) -> Drawn:
    if row["map"] is None:
        thumb = photo.copy()
        thumb.thumbnail((_THUMB, _THUMB))
        thumb.save(folder / "thumbs" / f"{n:06}.webp", quality=70)
        return Drawn(n, 0.0, False)
    values = results.map(row).astype(np.float64)
    scale = colour.robust_scale(values)
    heat = Image.fromarray(_veil(values, scale))
    heat.thumbnail(photo.size, Image.Resampling.BOX)
    heat.save(folder / "maps" / f"{n:06}.webp", quality=70, alpha_quality=80, method=2)
    outline = _outline(results, row, photo.size)
    if outline is not None:
        outline.save(folder / "masks" / f"{n:06}.webp", lossless=True)
    _thumb(photo, heat, about, row).save(folder / "thumbs" / f"{n:06}.webp", quality=70)
    layers = _layers(results, folder, n, row)
    found = {crop: crop_of(values, row, about, crop=crop) for crop in crops_of(row, crops)}
    seen = {crop: one for crop, one in found.items() if one is not None}
    return Drawn(n, scale, outline is not None, seen, layers)


def _layers(results: Results, folder: Path, n: int, row: dict[str, Any]) -> tuple[str, ...]:
    """Draw the relevance at each place that was read and is a map: `layers/N-K.webp`; their
    names."""
    places = {name: v for name, v in results.layers(row).items() if v.ndim == 2}
    for k, values in enumerate(places.values()):
        shown = values.astype(np.float64)
        veil = Image.fromarray(_veil(shown, colour.robust_scale(shown)))
        veil.save(folder / "layers" / f"{n:06}-{k}.webp", lossless=True)
    return tuple(places)


def _veil(values: colour.Map, scale: float) -> NDArray[np.uint8]:
    """A map as colours with an opacity, [h, w, 4]: red for, blue against, clear for nothing."""
    unit = np.clip(values / scale, -1, 1) if scale > 0 else np.zeros_like(values)
    tint = np.where(unit[..., None] >= 0, np.array(colour.POSITIVE), np.array(colour.NEGATIVE))
    cover = _COVER * np.abs(unit)[..., None] ** 0.7 * 255
    return np.concatenate([tint, cover], axis=-1).round().astype(np.uint8)


def _outline(results: Results, row: dict[str, Any], size: tuple[int, int]) -> Image.Image | None:
    """The outline of a target's mask over the image shown."""
    mask = results.mask(row)
    if mask is None or not mask.any():
        return None
    larger = -(-_FINE // max(size))  # so that the line of a small image is fine, too
    size = (size[0] * larger, size[1] * larger)
    shape = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    inside = np.asarray(shape) > 127
    inner = np.asarray(shape.filter(ImageFilter.MinFilter(5))) > 127
    pixels = np.zeros((*inside.shape, 4), np.uint8)
    pixels[inside & ~inner] = _OUTLINE
    return Image.fromarray(pixels)


def _thumb(
    photo: Image.Image, heat: Image.Image, about: dict[str, Any], row: dict[str, Any]
) -> Image.Image:
    """The image in grey under the map, with the object's box."""
    size = _within(photo.size, _THUMB)
    picture = photo.convert("L").resize(size).point(lambda v: 56 + v * 188 // 255).convert("RGB")
    down, across = size[1] / about["height"], size[0] / about["width"]
    top, left, height, width = about["seen"] or (0, 0, about["height"], about["width"])
    place = (round(left * across), round(top * down))
    extent = (max(1, round(width * across)), max(1, round(height * down)))
    veil = heat.resize(extent, Image.Resampling.BOX)
    picture.paste(veil, place, veil)
    if row["x0"] is not None:
        edges = [row["x0"] * across, row["y0"] * down, row["x1"] * across, row["y1"] * down]
        ImageDraw.Draw(picture).rectangle(edges, outline=(15, 15, 15))
    return picture
