"""What a model of transformers says of itself in its own files, as keys of a config."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lrpc.config import Config, filled
from lrpc.config.schema import FILTERS
from lrpc.config.show import show
from lrpc.errors import ConfigError
from lrpc.models.resizing import sizes_of

#: Where the settings of an image processor stand: in a file of their own, or in that of a processor
#: of images and text.
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
#: Models whose own post-processing finds one object for each query, of its best class.
_ONE_CLASS = ("eomt", "eomt_dinov3", "grounding-dino", "mm-grounding-dino")


def as_described(config: Config, settings: Any, path: Path) -> Config:
    """`config` with what the model's own files say, wherever it sets nothing itself.

    `settings` are those of the model (`AutoConfig`), `path` is its image processor's file. Raises
    ConfigError.
    """
    processor = read_processor(path)
    found = sizes_of(config, processor, str(path)) | _pixels(processor) | _classes(config, settings)
    if settings.model_type in _ONE_CLASS:
        found["LRPC.DETECTIONS"] = "queries"
    return filled(config, found, config.LRPC.SOURCE)


def read_processor(path: Path) -> dict[str, Any]:
    """The file of an image processor; ConfigError where it cannot be read."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); save the image processor") from error
    if path.name == PROCESSORS[1] and isinstance(found, dict):
        found = found.get("image_processor")
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected the settings of an image processor")
    for key, (holds, expected) in _KNOWN.items():
        if found.get(key) is not None and not holds(found[key]):
            raise ConfigError(f"{path}: {key}: expected {expected}, got {show(found[key])}")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_edge(value: Any) -> bool:
    return isinstance(value, int) and 0 < value < 1 << 20


def _is_size(value: Any) -> bool:
    sides = value.values() if isinstance(value, dict) else [value]
    return bool(sides) and all(side is None or _is_edge(side) for side in sides)


_THREE = (
    lambda v: isinstance(v, list) and len(v) == 3 and all(map(_is_number, v)),
    "three numbers",
)
_KNOWN: dict[str, tuple[Callable[[Any], bool], str]] = {
    "image_mean": _THREE,
    "image_std": _THREE,
    "rescale_factor": (lambda v: _is_number(v) and v > 0, "a number above 0"),
    "size": (_is_size, "edges in pixels"),
    "crop_size": (_is_size, "edges in pixels"),
    "crop_pct": (lambda v: _is_number(v) and 0 < v <= 1, "a number in (0, 1]"),
    "resample": (
        lambda v: isinstance(v, int) and 0 <= v < len(FILTERS),
        f"a filter of Pillow, 0 to {len(FILTERS) - 1}",
    ),
    "size_divisor": (_is_edge, "a number of pixels"),
    "ensure_multiple_of": (_is_edge, "a number of pixels"),
    "size_divisibility": (_is_edge, "a number of pixels"),
}


def _pixels(processor: Mapping[str, Any]) -> dict[str, Any]:
    """What is taken from pixels in 0–255, and what they are divided by.

    An EfficientNet's processor may take 1 from the rescaled pixels (`rescale_offset`), and divides
    once more by the deviation (`include_top`).
    """
    kind = str(processor.get("image_processor_type") or processor.get("feature_extractor_type"))
    scaled, normal = processor.get("do_rescale", True), processor.get("do_normalize", True)
    scale = 1 / (processor.get("rescale_factor") or 1 / 255) if scaled else 1.0
    offset = 1.0 if scaled and processor.get("rescale_offset") else 0.0
    mean = (processor.get("image_mean") if normal else None) or (0.0,) * 3
    std = processor.get("image_std") or (1.0,) * 3
    times = bool(normal) + bool(processor.get("include_top", kind.startswith("EfficientNet")))
    return {
        "MODEL.PIXEL_MEAN": [(value + offset) * scale for value in mean],
        "MODEL.PIXEL_STD": [value**times * scale for value in std],
    }


def _classes(config: Config, settings: Any) -> dict[str, Any]:
    """The classes, by name where they have names. ConfigError where it is not known which is
    which."""
    count, names = len(settings.id2label), dict(settings.id2label)
    if set(names) != set(range(count)) and config.where("LRPC.CLASS_NAMES") == "defaults":
        raise ConfigError(
            f"{config.LRPC.SOURCE}: id2label of its config.json names other classes than 0 to"
            f" {count - 1}; number them so, or set LRPC.CLASS_NAMES"
        )
    found: dict[str, Any] = {"MODEL.SEM_SEG_HEAD.NUM_CLASSES": count}
    if names != {i: f"LABEL_{i}" for i in range(count)}:
        found["LRPC.CLASS_NAMES"] = [str(names[i]) for i in sorted(names)]
    return found
