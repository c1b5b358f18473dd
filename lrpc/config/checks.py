"""Parsers of the `LRPC` keys whose values have a shape of their own."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from lrpc.config.show import show
from lrpc.config.target_kinds import KINDS, SUBLAYERS
from lrpc.support.untrusted import near, short

#: Models of MaskDINO by name, beside functions of the user's; lrpc/models/sources.py builds them.
SOURCES = ("embedded", "detectron2")
#: What stands before the folder, or the name in the cache, of a model of transformers.
TRANSFORMERS = "transformers:"
Parser = Callable[[Any], Any]
_TRANSFORMERS = re.compile(rf"{TRANSFORMERS}[^\x00-\x1f]+")
_SWITCHES = ("first", "classes", "backbone")  # as in lrpc.rules.entries
_SELECTORS = ("role", "op", "module", "layers", *_SWITCHES)
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_INSIDE = "|".join(dict.fromkeys(part for parts in SUBLAYERS.values() for part in parts))
_LAYER = re.compile(rf"\*|[0-9]{{1,9}}(\.({_INSIDE})(\.pre_res)?)?")
_MODULE_PATH = re.compile(r"\w+(\.\w+)*")


def _is_integer(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _strings(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v for v in value):
        raise ValueError(f"expected a list of {what}, got {show(value)}")
    return tuple(value)


def parse_source(value: Any) -> str:
    """Return a model source: a known name or an import path."""
    if isinstance(value, str) and (value in SOURCES or _TRANSFORMERS.fullmatch(value)):
        return value
    if isinstance(value, str) and _IMPORT_PATH.fullmatch(value):
        return value
    known = ", ".join(f'"{name}"' for name in SOURCES)
    raise ValueError(
        f'expected {known}, "transformers:FOLDER" or "package.module:function", got {show(value)}'
    )


def parse_scope(value: Any) -> str:
    """Return a dotted module path, or "" for the whole model."""
    if isinstance(value, str) and (not value or _MODULE_PATH.fullmatch(value)):
        return value
    raise ValueError(f'expected a module path such as "sem_seg_head.predictor", got {show(value)}')


def wanted_for_segments(source: str, kind: str) -> str:
    """What a model of this LRPC.SOURCE needs to make semantic or panoptic results."""
    if source.startswith(TRANSFORMERS):
        return f"a OneFormer, and LRPC.TEXT {kind}"
    if source in SOURCES:
        return f"MODEL.MaskDINO.TEST.{kind.upper()}_ON true"
    return "a MaskDINO or a OneFormer"


def parse_targets(value: Any) -> tuple[str, ...]:
    """Return target names, the layered ones optionally with ":LAYER"."""
    names = _strings(value, "target names")
    if not names:
        raise ValueError("expected at least one target, got []")
    seen: set[str] = set()
    for text in names:
        name, colon, layer = text.partition(":")
        if name not in KINDS:
            close = near(name, KINDS, 0.0) or min(KINDS)
            raise ValueError(f"{show(text)} is not a target; did you mean {show(close)}?")
        if colon and not KINDS[name].layered:
            raise ValueError(
                f"{show(text)}: {name} exists once, without a layer; remove :{short(layer)}"
            )
        if colon and not _LAYER.fullmatch(layer):
            raise ValueError(f'{show(text)}: expected a layer index or "*" after the colon')
        if text in seen:
            raise ValueError(f"{show(text)} is given twice; remove one of the two")
        seen.add(text)
    return names


def parse_shapes(value: Any) -> tuple[tuple[int, int], ...]:
    """Return image sizes [H, W]; whether the model can divide them is checked with the model."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"expected a list of sizes [H, W], got {show(value)}")
    sizes: dict[tuple[int, int], None] = {}
    for size in value:
        whole = isinstance(size, list | tuple) and len(size) == 2
        if not whole or not all(_is_integer(side, 1) for side in size):
            raise ValueError(f"expected two positive integers [H, W], got {show(size)}")
        if tuple(size) in sizes:
            raise ValueError(f"{show(size)} is given twice; remove one of the two")
        sizes[size[0], size[1]] = None
    return tuple(sizes)


def parse_budget(value: Any) -> str | int:
    """Return "", a number of bytes, or a percentage as text ("80%"). Bytes may be given with a
    decimal unit, as `lrpc plan` prints them ("1.5 GB")."""
    given = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,3})?) ?(|kB|MB|GB|TB)", str(value))
    if isinstance(value, str) and given and ("." not in given[1] or given[2]):
        value = int(Decimal(given[1]) * 1000 ** ("", "kB", "MB", "GB", "TB").index(given[2]))
    if value == "" or _is_integer(value, 1):
        return str(value) if isinstance(value, str) else int(value)
    if isinstance(value, str) and re.fullmatch(r"100%|[1-9]\d?%", value):
        return value
    raise ValueError(f'expected "", bytes as in "800 MB", or "1%" to "100%", got {show(value)}')


def _texts(what: str, form: re.Pattern[str] | None = None, like: str = "") -> Parser:
    """Takes a list of `what`, each of a form that errors describe as `like`."""

    def parse(value: Any) -> tuple[str, ...]:
        found = _strings(value, what)
        for text in found:
            if form is not None and not form.fullmatch(text):
                raise ValueError(f"expected {like}, got {show(text)}")
        return found

    return parse


def parse_bound(value: Any) -> float | tuple[float, ...] | None:
    """Return a number, one for each channel, or None."""
    if value is None:
        return None
    if _numbers(value):
        return tuple(float(number) for number in value)
    if _numbers([value]):
        return float(value)
    raise ValueError(f"expected a finite number, a list of them or null, got {show(value)}")


def _numbers(value: Any) -> bool:
    """Whether `value` is a list of finite numbers, and not an empty one."""
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
        and all(math.isfinite(v) for v in value)
    )


def parse_rules(value: Any) -> tuple[dict[str, Any], ...]:
    """Return rule entries of the right shape; their names are checked with the rules."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list of mappings, got {show(value)}")
    return tuple(_rule(entry, f"entry {number}") for number, entry in enumerate(value))


def _rule(entry: Any, place: str) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise ValueError(
            f"{place}: expected a mapping such as {{role: …, rule: …}}, got {show(entry)}"
        )
    for key in ("role", "op", "module", "rule"):
        if key in entry and not (isinstance(entry[key], str) and entry[key]):
            several = " (several in one text: linear|convolution)" * isinstance(entry[key], list)
            raise ValueError(f"{place}: {key}: expected a name{several}, got {show(entry[key])}")
    if "rule" not in entry:
        raise ValueError(f'{place}: has no "rule"; name one that `lrpc rules` lists')
    if not any(key in entry for key in _SELECTORS):
        raise ValueError(f"{place}: selects nothing; give {', '.join(_SELECTORS)}")
    if "role" in entry and "op" in entry:
        raise ValueError(f"{place}: has both role and op; keep one of the two")
    if "layers" in entry:
        _check_layers(entry["layers"], place)
    for key, parameter in entry.items():
        if key in _SWITCHES and not isinstance(parameter, bool):
            raise ValueError(f"{place}: {key}: expected true or false, got {show(parameter)}")
        if key != "layers" and not (
            isinstance(parameter, str | int | float | bool) or _numbers(parameter)
        ):
            raise ValueError(
                f"{place}: {key}: expected a number, a list of numbers or text,"
                f" got {show(parameter)}"
            )
    return {str(key): parameter for key, parameter in entry.items()}


def _check_layers(layers: Any, place: str) -> None:
    pair = isinstance(layers, list | tuple) and len(layers) == 2
    if not pair or not all(_is_integer(bound, 0) for bound in layers) or layers[0] > layers[1]:
        raise ValueError(
            f"{place}: layers: expected [first, last] with 0 <= first <= last, got {show(layers)}"
        )


def parse_crop(value: Any) -> tuple[int, ...]:
    """Return the shorter edge before a crop, or height and width; () where there is no crop."""
    if not isinstance(value, list | tuple) or len(value) > 2:
        raise ValueError(f"expected [shorter edge] or [height, width], got {show(value)}")
    if not all(_is_integer(edge, 1) for edge in value):
        raise ValueError(f"expected edges in pixels, got {show(value)}")
    return tuple(value)


def parse_dynamic(value: Any) -> bool | int | str:
    """Return whether sizes vary, the step that they go in, or auto."""
    if isinstance(value, str):  # of the command line
        words: dict[str, bool | int | str] = {"auto": "auto", "true": True, "false": False}
        value = int(value) if re.fullmatch("[0-9]{1,9}", value) else words.get(value.lower(), value)
    if value == "auto" or isinstance(value, bool):
        return "auto" if value == "auto" else bool(value)
    if not _is_integer(value, 1):
        raise ValueError(f"expected auto, true, false or a step such as 64, got {show(value)}")
    return int(value)


def parse_things(value: Any) -> tuple[int, ...]:
    """Return numbers of classes."""
    if not isinstance(value, list | tuple) or not all(_is_integer(n, 0) for n in value):
        raise ValueError(f"expected a list of numbers of classes, got {show(value)}")
    return tuple(value)


_PLACES = _texts("names or globs")
PARSERS: dict[str, Parser] = {
    "LRPC.SOURCE": parse_source,
    "LRPC.SCOPE": parse_scope,
    "LRPC.TARGETS": parse_targets,
    "LRPC.RULES": parse_rules,
    "LRPC.BOX.LOW": parse_bound,
    "LRPC.BOX.HIGH": parse_bound,
    "LRPC.MEMORY.BUDGET": parse_budget,
    "LRPC.SHAPES": parse_shapes,
    "LRPC.CROP_FROM": parse_crop,
    "LRPC.DYNAMIC": parse_dynamic,
    "LRPC.READ": _PLACES,
    "LRPC.CONDITIONS": _PLACES,
    "LRPC.STARTS": _PLACES,
    "LRPC.BOUNDARIES": _PLACES,
    "LRPC.CLASS_NAMES": _texts("class names"),
    "LRPC.THINGS": parse_things,
    "LRPC.PASSES": _texts("import paths", _IMPORT_PATH, 'an import path "package.module:Class"'),
    "LRPC.PLUGINS": _texts("module names", _MODULE_PATH, 'a module such as "package.module"'),
}
