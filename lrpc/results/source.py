"""The images of a job, as they were listed: their numbers, and where their bytes lie."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from lrpc.errors import ImageError
from lrpc.results.layout import Layout, damaged
from lrpc.support.files import reason, shown

#: Pillow's names of what is read. Its other decoders run programs (EPS runs Ghostscript), expand
#: without a limit (FITS) or read no photographs.
FORMATS = (
    *("AVIF", "BMP", "DDS", "DIB", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000"),
    *("PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
)


def formats() -> list[str]:
    """Those of FORMATS that this build of Pillow has."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@dataclass(frozen=True)
class Place:
    """Where an image lies: `size` bytes (-1: all) of a file from `start` on."""

    path: Path
    start: int = 0
    size: int = -1

    def read(self, name: str, most: int = -1) -> bytes:
        """Its bytes, or the first of them; raises ImageError in one line, with the `name`."""
        try:
            with open(self.path, "rb", opener=_without_waiting) as file:
                kind = os.fstat(file.fileno()).st_mode
                if not stat.S_ISREG(kind):
                    what = "a folder" if stat.S_ISDIR(kind) else "no regular file"
                    raise ImageError(f"{shown(name)}: is {what}; name an image file")
                file.seek(self.start)
                return file.read(self.size if most < 0 or 0 <= self.size < most else most)
        except (OSError, ValueError) as error:
            raise ImageError(f"{shown(name)}: cannot be read ({reason(error)})") from error

    def stamp(self) -> tuple[int, int]:
        """Its bytes, and when the file was changed (ns): what tells that it is another now; -1, -1
        where it is gone."""
        try:
            found = os.stat(self.path)
        except (OSError, ValueError):
            return -1, -1
        return (found.st_size if self.size < 0 else self.size), found.st_mtime_ns


@dataclass(frozen=True)
class Listed:
    """An image of a job; images are numbered as they are listed."""

    name: str
    part: int
    stamp: tuple[int, int]
    place: Place

    def line(self) -> str:
        """The image as a line of a listing."""
        where = self.place
        row = [self.name, self.part, *self.stamp, str(where.path), where.start, where.size]
        return json.dumps(row)


def check_same(name: str, data: bytes, sha256: str | None) -> None:
    """Raise ImageError where a file that was explained has another content now."""
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise ImageError(
            f"{shown(name)}: its file has changed since it was explained; explain it again"
        )


def photo(name: str, data: bytes) -> Image.Image:
    """The image in a file's bytes as RGB, turned upright; raises ImageError with its name."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=formats()) as image:
            warnings.simplefilter("ignore")  # odd files: what matters raises
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # decoders give up in any way
        raise ImageError(f"{shown(name)}: cannot be read ({reason(error)})") from error


def read_listing(where: Layout) -> list[Listed]:
    """The images of a job, none before it has any. Raises ProgramError."""
    if not where.listing.is_file():
        return []
    try:
        lines = where.listing.read_text("utf-8").splitlines()
        return [_listed(*json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise damaged(where.listing) from error


def _listed(
    name: str, part: int, size: int, changed: int, path: str, start: int, length: int
) -> Listed:
    return Listed(name, part, (size, changed), Place(Path(path), start, length))


def parts_of(images: Mapping[int, Any]) -> dict[int, list[int]]:
    """Part → the numbers of its images."""
    found: dict[int, list[int]] = {}
    for number, one in images.items():
        found.setdefault(one.part, []).append(number)
    return found


def _without_waiting(path: str, flags: int) -> int:
    """Open a path; a pipe that nobody writes to does not make us wait."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
