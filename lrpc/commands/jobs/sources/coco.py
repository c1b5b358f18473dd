"""The images of COCO annotations, with their objects as ground truth."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lrpc.commands.jobs.sources.items import Item, SourceError, Truth
from lrpc.program.protocol import Box
from lrpc.results.source import Place
from lrpc.support.files import shown
from lrpc.support.untrusted import Unreadable, read_json

_LARGEST = 2**30  # bytes of annotations; those of COCO's training images have 0.45 GB


def in_coco(file: Path, folder: Path | None) -> Iterator[Item]:
    """The images of a COCO file in its order, in `folder` or else the file's own; crowds are left
    out of their objects. Ids are numbers or texts, and 1 and "1" are the same."""
    try:
        content = read_json(file, _LARGEST)
    except Unreadable as error:
        raise SourceError(f"{shown(file)}: {error}") from error
    try:
        if not isinstance(content, dict) or not isinstance(content.get("images"), list):
            raise _Wrong("it has no list of images")
        objects = _objects(content) if content.get("annotations") is not None else None
        for n, image in enumerate(content["images"]):
            name = _of(image, "file_name", str, f"image {n}")
            truth = None
            if objects is not None:
                truth = tuple(objects[_id(image, "id", f"image {n}")])
            yield Item(name, Place((folder or file.parent) / name), truth)
    except _Wrong as error:
        raise SourceError(f"{shown(file)}: not COCO annotations: {error}") from error


class _Wrong(Exception):
    """What COCO annotations do not have, or have otherwise."""


def _objects(content: Mapping[str, Any]) -> defaultdict[str, list[Truth]]:
    """The objects of each image, by its id as a text."""
    names = {
        _id(one, "id", f"category {n}"): str(one.get("name", one["id"]))
        for n, one in enumerate(_list(content, "categories"))
    }
    found: defaultdict[str, list[Truth]] = defaultdict(list)
    for n, one in enumerate(_list(content, "annotations")):
        image = _id(one, "image_id", f"annotation {n}")
        if one.get("iscrowd") in (0, None) and one.get("bbox"):
            label = _id(one, "category_id", f"annotation {n}")
            found[image].append(Truth(names.get(label, label), _box(one["bbox"], n)))
    return found


def _list(content: Mapping[str, Any], key: str) -> list[Any]:
    found = content.get(key)
    if not isinstance(found, list | None):
        raise _Wrong(f"its {key} are no list")
    return found or []


def _of(one: Any, key: str, kind: type | tuple[type, ...], what: str) -> Any:
    value = one.get(key) if isinstance(one, dict) else None
    if not isinstance(value, kind):
        raise _Wrong(f"{what} has no {key}")
    return value


def _id(one: Any, key: str, what: str) -> str:
    return str(_of(one, key, (int, str), what))


def _box(values: Any, n: int) -> Box:
    """A box x, y, width, height by its edges."""
    numbers = values if isinstance(values, list) and len(values) == 4 else ()
    if not numbers or not all(isinstance(v, int | float) and math.isfinite(v) for v in numbers):
        raise _Wrong(f"annotation {n} has no bbox of four numbers")
    x, y, width, height = map(float, numbers)
    return x, y, x + width, y + height
