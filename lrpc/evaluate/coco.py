"""COCO instance annotations: `images`, `annotations`, `categories`; polygons and run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrpc.evaluate.outlines import Outline, Polygons, RunLength, ScenesError, parse_counts
from lrpc.evaluate.truth import Annotated, Truth


def is_coco(content: Any) -> bool:
    """Whether parsed JSON looks like COCO instance annotations."""
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys()


def read_coco(content: Any, folder: Path, file: Path, names: Sequence[str]) -> list[Annotated]:
    """Images in `folder` with their objects, in the file's order; crowds are left out.

    Categories become classes by name where the program names its classes, otherwise by the order
    of their ids, as detectron2 numbers them. Raises ScenesError.
    """
    if not is_coco(content):
        raise ScenesError(f"{file}: not COCO annotations: images, annotations, categories")
    try:
        classes = _classes(content["categories"], names, file)
        objects: dict[int, list[Truth]] = {}
        for one in content["annotations"]:
            if not one.get("iscrowd", 0):
                objects.setdefault(one["image_id"], []).append(_truth(one, classes))
        return [
            Annotated(folder / image["file_name"], tuple(objects.get(image["id"], ())))
            for image in content["images"]
        ]
    except ScenesError as error:
        raise ScenesError(f"{file}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ScenesError(f"{file}: not COCO instance annotations ({reason})") from error


def _classes(
    categories: Sequence[Mapping[str, Any]], names: Sequence[str], file: Path
) -> dict[int, int]:
    """Category id → class of the program."""
    order = sorted(categories, key=lambda c: int(c["id"]))
    known = [str(category.get("name")) for category in order]
    if names and all(name in names for name in known):
        return {int(c["id"]): list(names).index(str(c["name"])) for c in order}
    if names and len(names) != len(order):
        missing = next(name for name in known if name not in names)
        raise ScenesError(f"category '{missing}' is no class of the program ({', '.join(names)})")
    return {int(category["id"]): number for number, category in enumerate(order)}


def _truth(one: Mapping[str, Any], classes: Mapping[int, int]) -> Truth:
    x, y, width, height = (float(number) for number in one["bbox"])
    name = f"{one['image_id']}#{one['id']}"
    if one["category_id"] not in classes:
        raise ScenesError(f"annotation {one['id']}: unknown category {one['category_id']}")
    try:
        outline = _outline(one["segmentation"])
    except ScenesError as error:
        raise ScenesError(f"annotation {one['id']}: {error}") from error
    return Truth(name, classes[one["category_id"]], outline, (x, y, x + width, y + height))


def _outline(segmentation: Any) -> Outline:
    """A list of polygons, or run lengths as numbers or as a compressed string."""
    if isinstance(segmentation, list):
        rings = tuple(tuple(float(number) for number in ring) for ring in segmentation)
        if any(len(ring) < 6 or len(ring) % 2 for ring in rings) or not rings:
            raise ScenesError("a polygon needs three points or more, x and y of each")
        return Polygons(rings)
    height, width = (int(edge) for edge in segmentation["size"])
    counts = segmentation["counts"]
    numbers = parse_counts(counts) if isinstance(counts, str) else tuple(int(c) for c in counts)
    return RunLength((height, width), numbers)
