"""The images of COCO annotations, with their objects as ground truth."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lrpc.commands.jobs.sources.items import Item, SourceError, Truth
from lrpc.results.source import Place
from lrpc.support.files import shown
from lrpc.support.untrusted import Unreadable, read_json

_LARGEST = 2**30  # bytes of annotations; those of COCO's training images have 0.45 GB


def in_coco(file: Path, folder: Path | None) -> Iterator[Item]:
    """The images of a COCO file in its order, in `folder` or else the file's own; crowds are left
    out of their objects."""
    try:
        content = read_json(file, _LARGEST)
    except Unreadable as error:
        raise SourceError(f"{shown(file)}: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise SourceError(f"{shown(file)}: not COCO annotations: it has no list of images")
    try:
        objects = _objects(content) if "annotations" in content else None
        for image in content["images"]:
            name = str(image["file_name"])
            truth = None if objects is None else tuple(objects[image["id"]])
            yield Item(name, Place((folder or file.parent) / name), truth)
    except (KeyError, TypeError, ValueError) as error:
        what = json.dumps(error.args[0] if error.args else None, default=str)
        raise SourceError(f"{shown(file)}: not COCO annotations ({what})") from error


def _objects(content: Mapping[str, Any]) -> defaultdict[Any, list[Truth]]:
    """The objects of each image, by its id."""
    names = {one["id"]: str(one["name"]) for one in content.get("categories", ())}
    found: defaultdict[Any, list[Truth]] = defaultdict(list)
    for one in content["annotations"]:
        if one.get("iscrowd") in (0, None) and one.get("bbox"):
            x, y, width, height = map(float, one["bbox"])
            label = names.get(one["category_id"], str(one["category_id"]))
            found[one["image_id"]].append(Truth(label, (x, y, x + width, y + height)))
    return found
