"""Annotated images: the digits' scenes, a folder of masks, or COCO annotations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lrpc.commands.evaluate.coco import Tell, is_coco, read_coco
from lrpc.commands.evaluate.outlines import MaskFile, ScenesError
from lrpc.commands.evaluate.settings import FORMS, INDEX
from lrpc.commands.evaluate.truth import Annotated, Truth, class_index
from lrpc.commands.session.images import find_images
from lrpc.errors import ImageError
from lrpc.support import untrusted as bounded

_LARGEST = 2**30  # bytes of annotations; those of COCO's training images have 0.45 GB
_MASK = re.compile(r"(?P<stem>.+)\.(?P<label>[^.]+)-(?P<number>\d+)\.mask\.png")


def read_scenes(
    folder: Path,
    annotations: Path | None = None,
    names: Sequence[str] = (),
    *,
    count: int | None = None,
    boxes: bool = False,
    tell: Tell = lambda text: None,
) -> list[Annotated]:
    """All annotated images of `folder`, in the order of its index or by name.

    An image that is not there is among them: it fails alone.

    Args:
        folder: the images, and their annotations unless `annotations` is given.
        annotations: a COCO instances file, or cases of the VPS benchmark, whose `file_name`s lie in
            `folder`.
        names: names of the program's classes, by which masks and COCO categories are matched.
        count: the number of classes.
        boxes: whether objects are matched by their boxes, so that they need no mask.
        tell: called with a line for each kind of annotation that is left out.

    Raises:
        ScenesError: annotations that cannot be read, in one line.
    """
    read = partial(read_coco, names=names, count=count, boxes=boxes, tell=tell)
    if not folder.is_dir():
        raise ScenesError(f"{folder}: no such folder; --scenes takes {FORMS}")
    if annotations is not None:
        found = read(read_json(annotations), folder, annotations)
    elif (folder / INDEX).is_file():
        found = _digits(read_json(folder / INDEX), folder)
    else:
        found = _masks(folder, names, read)
    if found and not any(scene.path.is_file() for scene in found):
        raise ScenesError(
            f"{found[0].path}: no such image, nor any of the annotated ones; --scenes is their"
            " folder"
        )
    if not any(scene.objects for scene in found):
        raise ScenesError(f"{folder}: no annotated object; --scenes takes {FORMS}")
    return found


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises ScenesError in one line."""
    try:
        return bounded.read_json(path, _LARGEST)
    except bounded.Unreadable as error:
        raise ScenesError(f"{path}: {error}") from error


def _digits(content: Any, folder: Path) -> list[Annotated]:
    """`[{file, instances: [{digit, box_xyxy, label_in_instances_png}]}]`, masks in
    `NAME.instances.png`."""
    try:
        return [_digits_scene(scene, folder) for scene in content]
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ScenesError(f"{folder / INDEX}: not an index of scenes ({reason})") from error


def _digits_scene(scene: Mapping[str, Any], folder: Path) -> Annotated:
    file = str(scene["file"])
    path = folder / file
    indexed = path.with_name(f"{path.stem}.instances.png")
    truths = []
    for one in scene["instances"]:
        index = int(one["label_in_instances_png"])
        x0, y0, x1, y1 = (float(edge) for edge in one["box_xyxy"])
        outline = MaskFile(indexed, index)
        truths.append(Truth(f"{file}#{index}", int(one["digit"]), outline, (x0, y0, x1, y1)))
    return Annotated(path, tuple(truths))


def _masks(
    folder: Path, names: Sequence[str], read: Callable[[Any, Path, Path], list[Annotated]]
) -> list[Annotated]:
    """`NAME.png` (or another image) and, for each object, `NAME.CLASS-NUMBER.mask.png`."""
    masks: dict[str, list[Truth]] = {}
    for path in sorted(folder.glob("*.mask.png")):
        match = _MASK.fullmatch(path.name)
        if match is None:
            raise ScenesError(f"{path}: masks are named NAME.CLASS-NUMBER.mask.png")
        label = class_index(match["label"], names, str(path))
        masks.setdefault(match["stem"], []).append(Truth(path.name, label, MaskFile(path)))
    if not masks:
        coco = [path for path in sorted(folder.glob("*.json")) if is_coco(read_json(path))]
        if coco:
            return read(read_json(coco[0]), folder, coco[0])
        raise ScenesError(f"{folder}: nothing is annotated here; --scenes takes {FORMS}")
    try:
        images = [p for p in find_images([folder]) if not p.name.endswith(".mask.png")]
    except ImageError as error:
        raise ScenesError(str(error)) from error
    known = {path.stem for path in images}
    lost = [folder / f"{stem}.png" for stem in sorted(set(masks) - known)]
    return [Annotated(path, tuple(masks.get(path.stem, ()))) for path in (*images, *lost)]
