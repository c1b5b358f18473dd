"""Images that are explained together: of one part and one size, in an order that interruptions do
not change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lrpc.commands.jobs.job import Job
from lrpc.commands.jobs.sources.items import Item
from lrpc.commands.session.images import open_image
from lrpc.commands.session.sizing import Sizing, fit
from lrpc.errors import ImageError
from lrpc.program.protocol import Size

Unit = tuple[int, ...]  # numbers of images
_TURNED = (5, 6, 7, 8)  # EXIF orientations that lay an image on its side
_ORIENTATION = 0x0112
_WIDTH = 0x0100
_HEADER = 2**18  # bytes, in which most files tell their size


def units(job: Job, sizing: Sizing, batch: int) -> Iterator[Unit]:
    """The units that are not done, part after part.

    With more than one image in a batch, the headers of a part's files are read first, so that the
    same images meet in a batch whatever was done before; a unit of which an image is missing is
    done again, all of it.
    """
    done = set(job.layout.images())
    for numbers in job.open_parts().values():
        for unit in _of_part(job, numbers, sizing, batch):
            if not done.issuperset(unit):
                yield unit


def _of_part(job: Job, numbers: Sequence[int], sizing: Sizing, batch: int) -> Iterator[Unit]:
    if batch == 1:
        yield from ((number,) for number in numbers)
        return
    sizes: dict[Size | int, list[int]] = {}
    for number in numbers:
        size = frame_of(job.item(number), sizing)
        sizes.setdefault(-number - 1 if size is None else size, []).append(number)
    for some in sizes.values():
        for first in range(0, len(some), batch):
            yield tuple(some[first : first + batch])


def frame_of(item: Item, sizing: Sizing) -> Size | None:
    """The size of the network's input for an image; None where its file cannot be read."""
    for most in (_HEADER, -1):  # some formats have what tells the size at their end
        try:
            with open_image(Path(item.name), item.read(most)) as image:
                width, height = image.size
                stored = getattr(image, "tag_v2", {}).get(_WIDTH, width)  # of a TIFF
                # Some releases of Pillow give the size of a TIFF as it is when turned.
                if image.getexif().get(_ORIENTATION) in _TURNED and stored == width:
                    width, height = height, width
                return fit((height, width), sizing)[0]
        except ImageError:
            continue
    return None
