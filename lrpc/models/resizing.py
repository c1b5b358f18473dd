"""How an image processor of transformers sizes images, as keys of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrpc.config import Config
from lrpc.errors import ConfigError

_FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
STEP = 32  # of backbones
_WARPED = 384  # ConvNeXts crop images below this edge, and warp others
#: Processors for which one number is the shorter edge, by the beginning of their names.
_BY_EDGE = ("Bit", "CLIP", "ConvNext", "Levit", "MobileNet", "MobileViT", "PoolFormer")
_UNREAD = {
    "do_split_image": "cuts an image into several squares",
    "do_flip_channel_order": "turns the order of colours round",
}


def sizes_of(config: Config, processor: Mapping[str, Any], name: str) -> dict[str, Any]:
    """How images are resized, cropped and padded, and the size that the program is planned for.

    `processor` is the file of an image processor, which `name` names in errors. Raises ConfigError
    for what is not followed.
    """
    for key, does in _UNREAD.items():
        if processor.get(key):
            raise ConfigError(f"{name}: {key} {does}, which is not followed; set it to false")
    kind = str(processor.get("image_processor_type") or processor.get("feature_extractor_type"))
    found: dict[str, Any] = {
        "LRPC.RESAMPLE": _FILTERS.get(processor.get("resample", 2), "bilinear")
    }
    step = processor.get("size_divisor") or processor.get("size_divisibility") or 1
    found["MODEL.MaskDINO.SIZE_DIVISIBILITY"] = step
    size = _edges(processor.get("size"), kind.startswith(_BY_EDGE))
    crop = _crop(processor, kind, size)
    if crop is not None:
        before, shape = crop
        edges = before * 2 if len(before) == 1 else before
        if any(a < b for a, b in zip(edges, shape, strict=True)):
            raise ConfigError(
                f"{name}: crop_size: {list(shape)} is larger than the resized image,"
                f" {list(before)}; correct one of them"
            )
        return found | {"LRPC.RESIZE": "crop", "LRPC.CROP_FROM": before, "LRPC.SHAPES": [shape]}
    if isinstance(size.get("height"), int) and isinstance(size.get("width"), int):
        shape = (size["height"], size["width"])
        return found | {"LRPC.RESIZE": "exact", "LRPC.SHAPES": [shape]}
    shortest = size.get("shortest_edge", config.INPUT.MIN_SIZE_TEST)
    if kind.startswith("ConvNext"):
        return found | {"LRPC.RESIZE": "exact", "LRPC.SHAPES": [(shortest, shortest)]}
    longest = size.get("longest_edge") or config.INPUT.MAX_SIZE_TEST
    found |= {"INPUT.MIN_SIZE_TEST": shortest, "INPUT.MAX_SIZE_TEST": longest}
    if kind.startswith("Eomt") and processor.get("do_pad"):
        shape = (shortest, size.get("longest_edge") or shortest)
        return found | {"LRPC.RESIZE": "pad", "LRPC.SHAPES": [shape]}
    edges = (shortest, min(longest, shortest * 4 // 3))
    shape = (-(-edges[0] // STEP) * STEP, -(-edges[1] // STEP) * STEP)
    return found | {"LRPC.RESIZE": "aspect", "LRPC.SHAPES": [shape]}


def _edges(size: Any, by_edge: bool = False) -> dict[str, Any]:
    """A size by names of its edges; of one number, the shorter one's or both."""
    if isinstance(size, dict) or not size:
        return size or {}
    return {"shortest_edge": size} if by_edge else {"height": size, "width": size}


def _crop(
    processor: Mapping[str, Any], kind: str, size: Mapping[str, Any]
) -> tuple[tuple[int, ...], tuple[int, int]] | None:
    """To what an image is resized, the shorter edge or both, and what size is cut out of its
    centre; None where all of it is seen."""
    edge, share = size.get("shortest_edge"), processor.get("crop_pct")
    before = (edge,) if edge else (size.get("height", 0), size.get("width", 0))
    if kind.startswith("ConvNext"):  # of whatever else its file says
        ratio = share or 224 / 256
        return ((int(edge / ratio),), (edge, edge)) if edge and edge < _WARPED else None
    if not processor.get("do_center_crop"):
        return None
    if kind.startswith("Levit") and edge:
        before = (int(256 / 224 * edge),)
    elif share:
        before = (int(before[0] / share),)
    crop = _edges(processor.get("crop_size") or size.get("shortest_edge") or dict(size))
    return before, (crop["height"], crop["width"])
