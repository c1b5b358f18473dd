"""Annotations of the VPS benchmark (Chen et al. 2025, 2411.16198) as COCO annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrpc.commands.evaluate.outlines import ScenesError

_LIST = "case1"
_KEYS = ("file_name", "category", "bbox")


def is_vps(content: Any) -> bool:
    """Whether parsed JSON is a list of cases: {case1: [{file_name, category, bbox}]}."""
    return isinstance(content, dict) and isinstance(content.get(_LIST), list)


def as_coco(content: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The cases of `file` in COCO's form; boxes (x0, y0, x1, y1) become (x, y, width, height).

    Raises ScenesError for a case that lacks a key or has another kind of box.
    """
    cases: Sequence[Any] = content[_LIST]
    for index, one in enumerate(cases):
        _check(one, f"{file}: {_LIST}, entry {index + 1}")
    files = {name: n for n, name in enumerate(dict.fromkeys(one["file_name"] for one in cases))}
    names = {name: n for n, name in enumerate(dict.fromkeys(one["category"] for one in cases))}
    return {
        "images": [{"id": n, "file_name": name} for name, n in files.items()],
        "categories": [{"id": n, "name": name} for name, n in names.items()],
        "annotations": [
            {
                "id": index + 1,
                "image_id": files[one["file_name"]],
                "category_id": names[one["category"]],
                "bbox": _sides(one["bbox"]),
            }
            for index, one in enumerate(cases)
        ],
    }


def _check(one: Any, place: str) -> None:
    if not isinstance(one, dict):
        raise ScenesError(f"{place}: is no mapping; expected {', '.join(_KEYS)}")
    missing = [key for key in _KEYS if key not in one]
    if missing:
        raise ScenesError(f"{place}: lacks {missing[0]}; expected {', '.join(_KEYS)}")
    for key in _KEYS[:2]:
        if not isinstance(one[key], str):
            raise ScenesError(f"{place}: its {key} is no text")
    box = one["bbox"]
    numbers = isinstance(box, list) and all(type(edge) in (int, float) for edge in box)
    if not numbers or len(box) != 4 or not (box[0] <= box[2] and box[1] <= box[3]):
        raise ScenesError(f"{place}: its bbox is not [x0, y0, x1, y1] in pixels")


def _sides(box: Sequence[float]) -> list[float]:
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]
