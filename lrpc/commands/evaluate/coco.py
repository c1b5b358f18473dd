"""COCO instance annotations: `images`, `annotations`, `categories`; polygons and run lengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from lrpc.commands.evaluate.coco_classes import Id, identifier, match_categories, shown
from lrpc.commands.evaluate.outlines import (
    BoxOutline,
    Outline,
    Polygons,
    RunLength,
    ScenesError,
    parse_counts,
)
from lrpc.commands.evaluate.truth import Annotated, Truth
from lrpc.commands.evaluate.vps import as_coco, is_vps
from lrpc.program.protocol import Box

Tell = Callable[[str], None]
_PARTS = ("images", "annotations", "categories")
_FAR = 1e7  # pixels: no image is larger


def is_coco(content: Any) -> bool:
    """Whether parsed JSON looks like COCO instance annotations."""
    return isinstance(content, dict) and set(_PARTS) <= content.keys()


def read_coco(
    content: Any,
    folder: Path,
    file: Path,
    names: Sequence[str],
    *,
    count: int | None = None,
    boxes: bool = False,
    tell: Tell = lambda text: None,
) -> list[Annotated]:
    """Images in `folder` with their objects, in the file's order; crowds are left out.

    Categories become classes as `match_categories` says, `names` and `count` are the program's.
    Objects without an outline have their box as one where `boxes` are matched, and are left out
    otherwise. What is left out or done so is told, in one line each. Raises ScenesError.
    """
    if is_vps(content):
        content = as_coco(content, file)
    if not is_coco(content):
        lacks = [part for part in _PARTS if not isinstance(content, dict) or part not in content]
        raise ScenesError(
            f"{file}: not COCO annotations: {', '.join(_PARTS)} (it lacks {', '.join(lacks)})"
        )
    try:
        images = _images(content["images"], folder)
        every = _annotations(content["annotations"])
        single = [one for one in every if one[1].get("iscrowd", 0) in (0, None, "0", "")]
        used = {_id_of(one, "category_id", place) for place, one in single}
        classes = match_categories(content["categories"], used, names, count)
        objects: dict[Id, list[Truth]] = {number: [] for number in images}
        notes = _sort(single, classes.number, objects, boxes)
    except ScenesError as error:
        raise ScenesError(f"{file}: {error}") from error
    for note in (classes.note, *notes):
        if note:
            tell(f"{file}: {note}")
    return [Annotated(path, tuple(objects[number])) for number, path in images.items()]


def _images(images: Any, folder: Path) -> dict[Id, Path]:
    """Image id → its file."""
    if not isinstance(images, list):
        raise ScenesError("images is not a list")
    found: dict[Id, Path] = {}
    for index, one in enumerate(images):
        if not isinstance(one, dict) or not isinstance(one.get("file_name"), str):
            raise ScenesError(f"image {index + 1} of the list has no file_name")
        number = _id_of(one, "id", f"image {shown(one['file_name'])}")
        if number in found:
            raise ScenesError(f"two images have the id {shown(number)}; give each its own")
        found[number] = _path(one["file_name"], folder)
    return found


def _path(name: str, folder: Path) -> Path:
    """The file in `folder`; of a path from another machine the last part, if that is there."""
    whole = folder / name
    last = folder / PureWindowsPath(name).name
    return last if not whole.is_file() and last.is_file() else whole


def _annotations(annotations: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Each annotation, with how a message names it."""
    if not isinstance(annotations, list):
        raise ScenesError("annotations is not a list")
    found: list[tuple[str, Mapping[str, Any]]] = []
    for index, one in enumerate(annotations):
        if not isinstance(one, dict):
            raise ScenesError(f"annotation {index + 1} of the list is no mapping")
        name = one.get("id", index + 1)
        own = isinstance(name, int | float | str)
        found.append((f"annotation {shown(name if own else index + 1)}", one))
    return found


def _id_of(one: Mapping[str, Any], key: str, place: str) -> Id:
    if key not in one:
        raise ScenesError(f"{place}: lacks {key}")
    try:
        return identifier(one[key])
    except ValueError as error:
        raise ScenesError(f"{place}: {key}: {error}") from None


def _sort(
    annotations: Sequence[tuple[str, Mapping[str, Any]]],
    classes: Mapping[Id, int],
    objects: dict[Id, list[Truth]],
    boxes: bool,
) -> list[str]:
    """Put every object to its image; returns what was left out, in words."""
    bare = lost = 0
    taken: dict[str, int] = {}
    for place, one in annotations:
        image = _id_of(one, "image_id", place)
        category = _id_of(one, "category_id", place)
        if category not in classes:
            raise ScenesError(f"{place}: unknown category {shown(category)}")
        if image not in objects:
            lost += 1
            continue
        try:
            box = _box(one)
            outline = _outline(one.get("segmentation"))
        except ScenesError as error:
            raise ScenesError(f"{place}: {error}") from error
        if outline is None:
            bare += 1
            if not boxes or box is None:
                continue
            outline = BoxOutline(box)
        name = f"{image}#{place.removeprefix('annotation ')}"
        taken[name] = taken.get(name, 0) + 1
        unique = name if taken[name] == 1 else f"{name}/{taken[name]}"
        objects[image].append(Truth(unique, classes[category], outline, box))
    if bare and not any(objects.values()):
        raise ScenesError("none of its objects has an outline; --match box takes their boxes")
    return [*_bare(bare, boxes), *_lost(lost)]


def _bare(count: int, boxes: bool) -> list[str]:
    if not count:
        return []
    if boxes:
        return [f"objects without an outline: {count}, whose boxes serve as one"]
    return [f"objects without an outline: {count}, left out; --match box takes their boxes"]


def _lost(count: int) -> list[str]:
    return (
        [f"annotations of images that the file does not list: {count}, left out"] if count else []
    )


def _box(one: Mapping[str, Any]) -> Box | None:
    """The box as corners; None where the annotation has none."""
    box = one.get("bbox")
    if box is None or box == []:
        return None
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_coordinate, box)):
        raise ScenesError("its bbox is not [x, y, width, height] in pixels")
    x, y, width, height = (float(number) for number in box)
    if width < 0 or height < 0:
        raise ScenesError("its bbox has a negative width or height; [x, y, width, height]")
    return (x, y, x + width, y + height)


def _is_coordinate(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < _FAR  # which NaN is not either


def _outline(segmentation: Any) -> Outline | None:
    """Polygons, or run lengths as numbers or as a compressed string; None where there is none."""
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        rings = [segmentation] if _is_coordinate(segmentation[0]) else segmentation
        return _polygons([ring for ring in rings if ring != []])
    if not isinstance(segmentation, dict):
        raise ScenesError("its segmentation is neither polygons nor run lengths")
    size: Any = segmentation.get("size")
    counts: Any = segmentation.get("counts")
    if isinstance(counts, str):
        counts = parse_counts(counts)
    listed = isinstance(size, list) and isinstance(counts, list | tuple)
    if not listed or len(size) != 2 or not all(map(_is_count, (*size, *counts))):
        raise ScenesError("its run lengths are not {size: [height, width], counts}")
    height, width = (int(edge) for edge in size)
    numbers = tuple(int(count) for count in counts)
    if sum(numbers) != height * width:
        raise ScenesError(f"its run lengths add up to {sum(numbers)} pixels, not {height * width}")
    return RunLength((height, width), numbers)


def _polygons(rings: Sequence[Any]) -> Outline | None:
    if not rings:
        return None
    for ring in rings:
        if not isinstance(ring, list) or not all(map(_is_coordinate, ring)):
            raise ScenesError("a polygon is not a list of numbers x, y, x, y, …, in pixels")
        if len(ring) < 6 or len(ring) % 2:
            raise ScenesError("a polygon needs three points or more, x and y of each")
    return Polygons(tuple(tuple(float(number) for number in ring) for ring in rings))


def _is_count(value: Any) -> bool:
    whole = isinstance(value, int | float) and not isinstance(value, bool)
    return whole and 0 <= value < 2**53 and value == value // 1
