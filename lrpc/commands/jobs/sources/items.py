"""One image of a source: its name there, where its bytes lie, and what is in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from lrpc.errors import LrpcError
from lrpc.program.protocol import Box
from lrpc.results.source import Place, photo


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

    `name` is its own in the source, and what results call it. `truth` are its objects, None where
    the source has none of any image.
    """

    name: str
    place: Place
    truth: tuple[Truth, ...] | None = None
    data: bytes | None = field(default=None, repr=False)  # of an image that is in no file

    def read(self, most: int = -1) -> bytes:
        """The bytes of the image's file, or its first ones; raises ImageError in one line."""
        if self.data is not None:
            return self.data if most < 0 else self.data[:most]
        return self.place.read(self.name, most)

    def photo(self) -> Image.Image:
        """The image as RGB, turned upright; raises ImageError."""
        return photo(self.name, self.read())
