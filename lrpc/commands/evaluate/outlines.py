"""Object outlines as masks: polygons and run lengths of COCO, mask files, indexed images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lrpc.commands.session.images import open_image
from lrpc.errors import ImageError, LrpcError
from lrpc.program.protocol import Box, Size
from lrpc.support.files import shown

Mask = NDArray[np.bool_]  # [H, W]
_BITS = 50  # of a run length


class ScenesError(LrpcError):
    """Scenes, annotations or masks that cannot be read or do not fit together."""


class Outline(Protocol):
    """What says which pixels of an image an object covers."""

    def mask(self, size: Size) -> Mask:
        """The object's pixels in an image of `size` (H, W). Raises ScenesError."""
        ...


@dataclass(frozen=True)
class MaskFile:
    """An image file as large as the photo: `index` of its pixels, or all that are not 0."""

    path: Path
    index: int | None = None

    def mask(self, size: Size) -> Mask:
        """The pixels of `index` (None: all above 0)."""
        values = _read(self.path)
        if values.shape != size:
            found, wanted = ("×".join(str(n) for n in s[::-1]) for s in (values.shape, size))
            raise ScenesError(f"{self.path}: the mask is {found} pixels, its image {wanted}")
        return np.asarray(values > 0 if self.index is None else values == self.index)


@dataclass(frozen=True)
class Polygons:
    """COCO polygons, each (x0, y0, x1, y1, …) in pixels; the object is their union."""

    points: tuple[tuple[float, ...], ...]

    def mask(self, size: Size) -> Mask:
        """The pixels whose centre lies inside."""
        union = np.zeros(size, dtype=bool)
        for ring in self.points:
            union |= fill_polygon(ring, size)
        return union


@dataclass(frozen=True)
class BoxOutline:
    """A box (x0, y0, x1, y1) in pixels, in place of an outline."""

    box: Box

    def mask(self, size: Size) -> Mask:
        """The pixels whose centre lies inside."""
        x0, y0, x1, y1 = self.box
        return fill_polygon((x0, y0, x1, y0, x1, y1, x0, y1), size)


@dataclass(frozen=True)
class RunLength:
    """COCO run lengths of 0, 1, 0, … down the columns of an image of `size`."""

    size: Size
    counts: tuple[int, ...]

    def mask(self, size: Size) -> Mask:
        """The pixels of the odd runs."""
        if size != self.size:
            raise ScenesError(f"a run-length mask of {self.size} (H, W) in an image of {size}")
        if sum(self.counts) != size[0] * size[1] or min(self.counts, default=0) < 0:
            raise ScenesError(
                f"run lengths add up to {sum(self.counts)} pixels, not {size[0] * size[1]}"
            )
        values = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(values, self.counts).reshape(size, order="F")


def parse_counts(text: str) -> tuple[int, ...]:
    """Run lengths from COCO's compressed string.

    Every number is a row of characters, 48 + six bits: five of the number, lowest first, and a bit
    that says that more follow; the last one's fifth bit is the sign. From the fourth number on,
    the string holds differences to the number two before. Raises ScenesError.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise ScenesError(f"'{character}' does not belong in a compressed run-length string")
        if shift > _BITS:
            raise ScenesError("a number in a compressed run-length string is too large")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ScenesError("a compressed run-length string is cut short")
    return tuple(counts)


def fill_polygon(points: Sequence[float], size: Size) -> Mask:
    """The pixels of (H, W) whose centre lies inside a polygon (x0, y0, x1, y1, …): even-odd rule.

    Along every row the edges that cross it toggle the pixels to their right.
    """
    height, width = size
    corners = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    toggles = np.zeros((height, width + 1), dtype=np.int64)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        low, high = min(y0, y1), max(y0, y1)
        first = max(0, int(np.ceil(low - 0.5)))
        last = min(height, int(np.ceil(high - 0.5)))  # rows whose centre is in [low, high)
        if first >= last:
            continue
        rows = np.arange(first, last)
        crossing = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
        toggles[rows, columns] += 1
    return np.asarray(toggles.cumsum(axis=1)[:, :width] % 2 == 1)


def bounding_box(mask: Mask) -> Box:
    """(x0, y0, x1, y1) around the pixels of a mask, right and bottom edges included: an empty mask
    has none, and raises ScenesError."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        raise ScenesError("an empty mask has no box")
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)


def _read(path: Path) -> NDArray[np.int64]:
    """The values of a one-channel image; of another, the largest of its colours."""
    if not path.exists():
        raise ScenesError(f"{path}: no such mask file")
    try:
        with open_image(path) as image:
            values = np.asarray(image.convert("RGB") if image.mode in ("RGBA", "CMYK") else image)
    except ImageError as error:
        why = str(error).removeprefix(f"{shown(path)}: ")
        raise ScenesError(f"{shown(path)}: not a mask that Pillow can read ({why})") from error
    whole = values.astype(np.int64)
    if whole.ndim == 3:
        whole = whole.max(axis=2)
    return np.asarray(whole)
