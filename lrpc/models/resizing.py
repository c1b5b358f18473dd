"""How an image processor of transformers sizes images, as keys of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrpc.config import Config
from lrpc.config.schema import FILTERS
from lrpc.errors import ConfigError

STEP = 32  # of backbones
_WARPED = 384  # ConvNeXts crop images below this edge, and warp others
#: Processors for which one number is the shorter edge, by the beginning of their names.
_BY_EDGE = ("Bit", "CLIP", "ConvNext", "Levit", "MobileNet", "MobileViT", "PoolFormer")
#: Switches that are followed, and those that leave the pixels of an image as they are.
_SWITCHES = (
    *("do_resize", "do_rescale", "do_normalize", "do_center_crop", "do_pad"),
    *("do_convert_rgb", "do_convert_annotations", "do_reduce_labels"),
)
_UNREAD = {
    "do_split_image": "cuts an image into several squares",
    "do_image_splitting": "cuts an image into several squares",
    "do_flip_channel_order": "turns the order of colours round",
    "keep_aspect_ratio": "resizes by one edge's scale",
}


def sizes_of(config: Config, processor: Mapping[str, Any], name: str) -> dict[str, Any]:
    """How images are resized, cropped and padded, and the size that the program is planned for.

    `processor` is the file of an image processor, which `name` names in errors. Raises ConfigError
    for what is not followed.
    """
    _refuse_unread(config, processor, name)
    kind = str(processor.get("image_processor_type") or processor.get("feature_extractor_type"))
    found: dict[str, Any] = {
        "LRPC.RESAMPLE": FILTERS[2 if (number := processor.get("resample")) is None else number]
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


def _refuse_unread(config: Config, processor: Mapping[str, Any], name: str) -> None:
    """ConfigError for what changes the pixels of an image and is not followed."""
    for key, value in processor.items():
        if key in _UNREAD or (key.startswith("do_") and key not in _SWITCHES):
            does = _UNREAD.get(key, "changes images")
            if value:
                raise ConfigError(f"{name}: {key} {does}, which is not followed; set it to false")
    if processor.get("do_pad") and processor.get("pad_size"):
        raise ConfigError(f"{name}: pad_size pads images, which is not followed; set it to null")
    if processor.get("do_resize") is False and config.where("LRPC.RESIZE") == "defaults":
        raise ConfigError(
            f"{name}: do_resize false leaves images at their own sizes, which is not followed; set"
            " LRPC.RESIZE and LRPC.SHAPES"
        )
    step = processor.get("ensure_multiple_of") or 1
    uneven = [edge for edge in _edges(processor.get("size")).values() if edge and edge % step]
    if uneven:
        raise ConfigError(
            f"{name}: size: {uneven[0]} is not a multiple of ensure_multiple_of, {step}; correct it"
        )


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
