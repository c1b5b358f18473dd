"""Reads the manifest of a program directory: all that lrpc uses of it, checked before it is used.

A manifest is data that may come from anyone. Nothing of it is imported or run: see plugins.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrpc.config.checks import parse_budget
from lrpc.config.schema import CHECKPOINTS, FILTERS
from lrpc.errors import ProgramError
from lrpc.program.targets import sayable
from lrpc.runtime import loading
from lrpc.runtime.manifests import (
    BYTES,
    COUNT,
    FILE,
    LEDGER,
    NUMBER,
    PLAN,
    READ,
    SIZE,
    TEXT,
    Each,
    Kind,
    check,
    read_manifest,
    whole,
)

PRECISIONS = ("fp64", "fp32", "tf32", "bf16", "f16")
MOST_AXES = 64
_CONTAINERS = ("dict", "items", "list", "tuple", "value")


def _budget(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return False
    try:
        parse_budget(value)
    except ValueError:
        return False
    return True


def _structure(value: Any) -> bool:
    """Whether this is a nesting of outputs, as `lrpc.frontend.structure.described` writes it."""
    if isinstance(value, str):
        return True
    if not isinstance(value, dict) or len(value) != 1:
        return False
    ((kind, content),) = value.items()
    if kind == "value":
        return content is None or isinstance(content, (bool, int, float, str))
    if kind == "dict":
        return isinstance(content, dict) and all(map(_structure, content.values()))
    if kind not in _CONTAINERS or not isinstance(content, list):
        return False
    return all(_item(part) if kind == "items" else _structure(part) for part in content)


def _item(pair: Any) -> bool:
    keyed = isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], (int, str))
    return keyed and _structure(pair[1])


def _one_of(*words: str) -> Kind:
    return Kind(f"one of {', '.join(words)}", lambda v: isinstance(v, str) and v in words)


FLAG = Kind("true or false", lambda v: isinstance(v, bool))
AXIS = Kind("an axis, an integer from 0", lambda v: whole(v, 0, MOST_AXES))
MODULE = Kind(
    "the name of a module",
    lambda v: isinstance(v, str) and all(part.isidentifier() for part in v.split(".")),
)
SHARE = Kind("a number above 0", lambda v: NUMBER.test(v) and v > 0)
THREE = Kind(
    "three numbers", lambda v: isinstance(v, list) and len(v) == 3 and all(map(NUMBER.test, v))
)
SHAPE = Kind(
    "height and width",
    lambda v: isinstance(v, (list, tuple)) and len(v) == 2 and all(whole(i, 1, 10**6) for i in v),
)
HASH = Kind(
    "a SHA-256 in hexadecimal",
    lambda v: isinstance(v, str) and re.fullmatch("[0-9a-f]{64}", v) is not None,
)
PAIR = Kind(
    "a part of the state and a name in it",
    lambda v: isinstance(v, list) and len(v) == 2 and all(isinstance(i, str) for i in v),
)
TARGETS = [
    {
        "name": Kind(
            "a name without quotes, backslashes and control characters",
            lambda v: isinstance(v, str) and sayable(v),
        ),
        "mark": TEXT,
        "axes": [AXIS],
        "index_names": [TEXT],
        "token": Kind("an axis, or null", lambda v: v is None or whole(v, 0, MOST_AXES)),
        "reads": [TEXT],
    }
]
SETTINGS = {
    "name": TEXT,
    "structure": Kind("a nesting of outputs", _structure),
    "read": [TEXT],
    "conditions?": [TEXT],
    "tf32": FLAG,
    "chunk": Kind("an integer from 1 to 1000000", lambda v: whole(v, 1, 10**6)),
    "notes": [TEXT],
    "checkpoint": _one_of(*CHECKPOINTS),
    "budget": Kind('a number of bytes, a share such as "50%", or ""', _budget),
    "planned": [Each(COUNT)],
    "precision": _one_of(*PRECISIONS),
    "bound": SHARE,
    "places": {"boundaries": [TEXT], "inputs": Each(TEXT)},
}
CONFIG = {
    "LRPC?": {
        "PLUGINS?": [MODULE],
        "SOURCE?": TEXT,
        "TEXT?": TEXT,
        "SCOPE?": TEXT,
        "CLASS_NAMES?": [TEXT],
        "SHAPES?": [SHAPE],
        "RESIZE?": _one_of("shortest", "aspect", "exact", "crop", "pad"),
        "CROP_FROM?": [COUNT],
        "DETECTIONS?": _one_of("pairs", "queries"),
        "RESAMPLE?": _one_of(*FILTERS),
        "PADDING_MASK?": FLAG,
    },
    "MODEL?": {"WEIGHTS?": TEXT, "PIXEL_MEAN?": THREE, "SEM_SEG_HEAD?": {"NUM_CLASSES?": COUNT}},
    "INPUT?": {"MIN_SIZE_TEST?": SIZE, "MAX_SIZE_TEST?": SIZE},
}
SIZES = Each({"step": COUNT, "example": COUNT})
COMPOSITE = {
    "composite": TEXT,
    "epsilon": NUMBER,
    "graph": FILE,
    "targets?": TARGETS,
    "rules?": Each(TEXT),
    "plan?": PLAN,
    "ledger?": LEDGER,
}
#: All that lrpc reads of a manifest beyond what the program itself reads.
MANIFEST: Mapping[str, Any] = {
    **READ,
    "sha256": Each(HASH, FILE),
    "inputs": Each(TEXT),
    "sizes?": SIZES,
    "targets": TARGETS,
    "settings": SETTINGS,
    "composite": TEXT,
    "epsilon": NUMBER,
    "graph?": FILE,
    "composites?": Each(COMPOSITE),
    "rules": Each(TEXT),
    "saved": Each(PAIR),
    "memory": {
        "recomputed": [TEXT],
        "kept": Each([TEXT]),
        "chunk": COUNT,
        "per_pass": SIZE,
        "seeds": COUNT,
        "peak": SIZE,
        "free_peak": SIZE,
        "budget": BYTES,
        "extra_work": NUMBER,
    },
    "config?": CONFIG,
}


#: What images and records need, of programs of any kind.
FACTS: Mapping[str, Any] = {
    "config?": CONFIG,
    "sizes?": SIZES,
    "targets?": [{"name": TEXT, "reads?": [TEXT]}],
    "class_names?": [TEXT],
    "epsilon?": Kind("a finite number, or null", lambda v: v is None or NUMBER.test(v)),
}


def manifest_of(directory: Path) -> dict[str, Any]:
    """The manifest of a program directory; ProgramError with file, key and what was expected."""
    try:
        data = read_manifest(directory, MANIFEST)
    except loading.ProgramError as error:
        raise ProgramError(str(error)) from None
    parts = [data, *data.get("composites", {}).values()]
    for targets in (part["targets"] for part in parts if "targets" in part):
        _check_targets(directory / "manifest.json", targets)
    return data


def check_facts(manifest: Mapping[str, Any]) -> None:
    """ProgramError where what `lrpc run` reads of a program's manifest is not what it should be."""
    try:
        check(dict(manifest), FACTS, "manifest.json")
    except loading.ProgramError as error:
        raise ProgramError(str(error)) from None


def _check_targets(path: Path, targets: list[dict[str, Any]]) -> None:
    if not targets:
        raise ProgramError(f"{path}: targets: expected one at least, got none")
    names = [target["name"] for target in targets]
    for number, target in enumerate(targets):
        if target["name"] in names[:number]:
            raise ProgramError(f"{path}: targets: {target['name']!r:.60} is there twice")
        if len(target["axes"]) != len(target["index_names"]):
            raise ProgramError(
                f"{path}: targets[{number}]: expected as many index_names as axes,"
                f" got {len(target['index_names'])} and {len(target['axes'])}"
            )
