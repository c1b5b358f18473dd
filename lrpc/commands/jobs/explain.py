"""`program.explain`: from images to explanations, in one call."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lrpc.commands.jobs.sources.find import Source, find
from lrpc.commands.jobs.sources.items import Item
from lrpc.commands.jobs.spec import Spec
from lrpc.commands.jobs.worker import Done, Read, Worker
from lrpc.commands.session.calls import Request
from lrpc.commands.session.images import DEEP_MODES
from lrpc.commands.session.options import Options
from lrpc.commands.session.targets import parse_targets
from lrpc.commands.session.wanted import Wanted
from lrpc.errors import ImageError
from lrpc.program.protocol import Program, Size
from lrpc.results.memory import Explanations
from lrpc.results.source import Place
from lrpc.runtime.program import Program as Loaded

Given = str | Path | Item | Image.Image | NDArray[np.uint8]


def images(*paths: str | Path, column: str | None = None) -> list[Item]:
    """The images of folders, patterns, lists, tables, COCO annotations and tar shards, each with
    its `name` and `photo()`; as `lrpc run --data` finds them.

    `column` is that of a table's paths. Raises SourceError.
    """
    return find(Source(tuple(Path(path) for path in paths), column))


def explain(
    program: Program | Loaded,
    given: Given | Iterable[Given],
    target: str | Sequence[str] = "class_logit",
    *,
    top: int = 5,
    score: float = 0.5,
    classes: Sequence[str] = (),
    at: Sequence[tuple[float, float]] = (),
    missed: bool = False,
    composites: Sequence[str] = (),
    read: Sequence[str] = (),
    norm: str | None = None,
    ledger: bool = True,
    condition: Mapping[str, Sequence[int]] | None = None,
    batch_size: int = 1,
    pad: bool = False,
) -> Explanations:
    """Explain what a program finds in images, each resized as the model's own inference resizes it.

    Args:
        program: what `lrpc.load` has loaded.
        given: images: paths, folders, what `lrpc.images` gives, PIL images, or arrays uint8
            [h, w, 3].
        target: where relevance starts, as `--target` of `lrpc run`.
        top: at most so many detections of an image.
        score: only detections that score above it.
        classes: only detections of these classes, by name or number.
        at: only the detections with the smallest box around these (x, y) of the image.
        missed: instead, the query that comes nearest to each class at each point.
        composites: of the program (its first).
        read: places whose relevance is kept, too (names or globs).
        norm: scale of the start: none, sum1 or sumT.
        ledger: with the account of relevance.
        condition: the channels that pass at places in LRPC.CONDITIONS: place → numbers.
        batch_size: images of one size that are explained together.
        pad: pad images that a program of one size would not take otherwise.

    Raises:
        LrpcError: a target, class or composite that the program does not have. An image that fails
            is among the `errors` of what is returned.
    """
    options = Options(
        output=Path(),
        device=str(getattr(program, "device", "cpu")),
        targets=parse_targets((target,) if isinstance(target, str) else target),
        score=score,
        top=top,
        wanted=Wanted(tuple(map(str, classes)), tuple((float(x), float(y)) for x, y in at), missed),
        batch_size=batch_size,
        pad=pad,
        request=Request(tuple(read), norm, ledger, condition=_listed(condition or {})),
    )
    spec = Spec(Path(getattr(program, "directory", "")), options, tuple(composites))
    worker, items = Worker(spec, cast(Program, program)), list(_items(given))
    done = _explained(worker, items, batch_size)
    records = [{**one.record, "seconds": one.seconds} for one in done]
    tensors = {name: value for one in done for name, value in one.tensors.items()}
    photos = {number: item.read for number, item in enumerate(items)}
    return Explanations(records, tensors, photos, {"asked": options.record()})


def _listed(condition: Mapping[str, Sequence[int]]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """A condition as it is recorded."""
    return tuple((place, tuple(int(i) for i in numbers)) for place, numbers in condition.items())


def _explained(worker: Worker, items: Sequence[Item], batch: int) -> list[Done]:
    """All images, those of one size together."""
    done: list[Done] = []
    waiting: dict[Size | None, list[Read]] = {}
    for number, item in enumerate(items):
        read = worker.read(number, item)
        size = None if read.image is None else read.image.frame
        waiting.setdefault(size, []).append(read)
        if len(waiting[size]) == batch:
            done += worker.explain(waiting.pop(size))
    for rest in waiting.values():
        done += worker.explain(rest)
    return done


def _items(given: Given | Iterable[Given]) -> Iterable[Item]:
    """Each image as one of a source."""
    alone = isinstance(given, str | Path | Item | Image.Image | np.ndarray)
    for n, one in enumerate([given] if alone else given):  # type: ignore[arg-type]
        if isinstance(one, Item):
            yield one
        elif isinstance(one, str | os.PathLike):
            yield from images(one)
        else:
            yield _in_memory(one, f"image {n}")


def _in_memory(one: Any, name: str) -> Item:
    """An image or array under a name, with its bytes as a file would have them."""
    if isinstance(one, np.ndarray):
        if one.dtype != np.uint8 or one.ndim != 3 or one.shape[2] != 3:
            raise ImageError(
                f"{name}: an array is uint8 [h, w, 3], RGB, not {one.dtype} {list(one.shape)}"
            )
        one = Image.fromarray(one)
    if not isinstance(one, Image.Image):
        kinds = "a path, a PIL image, an array uint8 [h, w, 3] or one of lrpc.images"
        raise ImageError(f"{name}: an image is {kinds}, not {type(one).__name__}")
    if one.mode in DEEP_MODES:
        raise ImageError(f"{name}: {one.mode} pixels; convert it to 8 bits per channel")
    data = io.BytesIO()
    ImageOps.exif_transpose(one).convert("RGB").save(data, "PNG", compress_level=1)
    return Item(name, Place(Path(name)), data=data.getvalue())
