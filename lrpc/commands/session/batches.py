"""Images in batches of one size; the trouble of one image is not another's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from lrpc.commands.session.images import LoadedImage, load_image
from lrpc.commands.session.sizing import Sizing
from lrpc.commands.session.targets import TargetError
from lrpc.errors import AnalysisError, ImageError, LrpcError
from lrpc.program.protocol import Size
from lrpc.support.files import shown
from lrpc.support.log import step
from lrpc.support.signals import finishing

#: One image's failure: the disk's, torch's and NumPy's own errors among them.
TROUBLE = (LrpcError, OSError, RuntimeError, ValueError, MemoryError)
#: Bytes of images that may wait for others of their size.
WAITING = 2**29
#: Errors of what was asked for, which no other image would mend.
REQUEST_ERRORS = (TargetError, AnalysisError)
Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result")


class Work(Protocol[Item, Result]):
    """What a command does with images, each of which comes with an item of its own."""

    def explain(self, images: Sequence[LoadedImage], items: Sequence[Item]) -> Sequence[Result]:
        """One result for each image of a batch of one size."""
        ...

    def keep(self, image: LoadedImage, item: Item, result: Result) -> None:
        """Write, or count, one image's result; a signal waits until this is over."""
        ...

    def fail(self, item: Item, path: Path, error: str) -> None:
        """Note an image's failure, in one line."""
        ...


def process(
    jobs: Iterable[tuple[Path, Item]],
    work: Work[Item, Result],
    sizing: Sizing,
    batch_size: int = 1,
    *,
    read: Callable[[Item], bytes] | None = None,
    debug: bool = False,
) -> None:
    """Every image through `work`, `batch_size` of one size together, or fewer where those that wait
    for others of their size would fill the memory. `read` gives an image's bytes where its path
    is a name alone.

    A batch that fails is done again image by image. What an image fails with, when it is read,
    explained or kept, goes to `work.fail`, and the rest go on. Raises `REQUEST_ERRORS`, with
    `debug` every error, and Stopped.
    """
    waiting: dict[Size, list[tuple[LoadedImage, Item]]] = {}
    run = _Run(work, debug)
    for path, item in jobs:
        try:
            with step(f"read {shown(path)}"):
                image = load_image(path, sizing, None if read is None else read(item))
        except ImageError as error:
            run.failed(item, path, error)
            continue
        batch = waiting.setdefault(image.frame, [])
        batch.append((image, item))
        if len(batch) == batch_size:
            run.batch(waiting.pop(image.frame))
        elif sum(one.pixels.nbytes for batch in waiting.values() for one, _ in batch) > WAITING:
            run.batch(waiting.pop(next(iter(waiting))))  # of the size that waits longest
    for batch in waiting.values():
        run.batch(batch)


@dataclass(frozen=True)
class _Run(Generic[Item, Result]):
    work: Work[Item, Result]
    debug: bool

    def batch(self, batch: Sequence[tuple[LoadedImage, Item]]) -> None:
        """Explain some images of one size together; alone, where together they fail."""
        images, items = [image for image, _ in batch], [item for _, item in batch]
        try:
            with step(f"compute {', '.join(shown(one.path.name) for one in images)}"):
                results = self.work.explain(images, items)
        except REQUEST_ERRORS:
            raise
        except TROUBLE as error:
            if len(batch) == 1:
                self.failed(items[0], images[0].path, error)
                return
            if self.debug:
                raise
            for one in batch:
                self.batch([one])
            return
        for image, item, result in zip(images, items, results, strict=True):
            with finishing():
                try:
                    with step(f"store {shown(image.path.name)}"):
                        self.work.keep(image, item, result)
                except TROUBLE as error:
                    self.failed(item, image.path, error)

    def failed(self, item: Item, path: Path, error: Exception) -> None:
        if self.debug:
            raise error
        with finishing():
            self.work.fail(item, path, line_of(error))


def line_of(error: BaseException) -> str:
    """The error's first line, with its type where it is none of our own."""
    text = shown(next(iter(str(error).strip().splitlines()), ""))
    if isinstance(error, LrpcError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
