"""One image of a source: its name there, and where its bytes lie."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from lrpc.errors import ImageError, LrpcError
from lrpc.program.protocol import Box
from lrpc.support.files import reason, shown


class SourceError(LrpcError):
    """A source of images that cannot be read."""


@dataclass(frozen=True)
class Truth:
    """An object of an image, as the source has it: its class's name, and its box in pixels."""

    label: str
    box: Box


@dataclass(frozen=True)
class Item:
    """An image of a source.

    `name` is its own in the source, and what results call it. Of a shard, it is `size` bytes of the
    file from `start` on (`size` -1: all of it). `truth` are its objects, None where the source has
    none of any image.
    """

    name: str
    path: Path
    start: int = 0
    size: int = -1
    truth: tuple[Truth, ...] | None = None

    def stamp(self) -> tuple[int, int]:
        """Its bytes, and when the file was changed (ns): what tells that it is another now."""
        try:
            found = os.stat(self.path)
        except (OSError, ValueError):
            return -1, -1
        return (found.st_size if self.size < 0 else self.size), found.st_mtime_ns

    def read(self, most: int = -1) -> bytes:
        """The bytes of the image's file, or its first ones; raises ImageError in one line."""
        try:
            with open(self.path, "rb", opener=_without_waiting) as file:
                kind = os.fstat(file.fileno()).st_mode
                if not stat.S_ISREG(kind):
                    what = "a folder" if stat.S_ISDIR(kind) else "no regular file"
                    raise ImageError(f"{shown(self.name)}: is {what}; name an image file")
                file.seek(self.start)
                return file.read(self.size if most < 0 or 0 <= self.size < most else most)
        except (OSError, ValueError) as error:
            raise ImageError(f"{shown(self.name)}: cannot be read ({reason(error)})") from error


def _without_waiting(path: str, flags: int) -> int:
    """Open a path; a pipe that nobody writes to does not make us wait."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
