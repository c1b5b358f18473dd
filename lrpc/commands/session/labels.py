"""What programs are called side by side: by what tells them apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from lrpc.program.loading import composites_of

_LONGEST = 24  # characters of a label: four columns of figures beside it fit a terminal
_VALUE = 12  # of a value
_TOGETHER = 2  # keys of a config that may make a label together
#: Of no meaning for what a program computes, or told by a better name.
_LEFT_OUT = ("LRPC.COMPOSITE", "LRPC.NAME", "MODEL.WEIGHTS", "OUTPUT_DIR")

Labels = dict[Path, str]


def labels_of(manifests: Mapping[Path, Mapping[str, Any]], taken: Sequence[str] = ()) -> Labels:
    """How each program is called, short and each otherwise; "" where its composites say it all.

    One program, or programs of different composites, need no label. Others are called by their
    weights, by one or two config keys whose values differ, with the composite where that differs
    too, at last by their folders. No label, or composite in place of one, is in `taken`.
    """
    paths = list(manifests)
    composites = [composites_of(manifests[path]) for path in paths]
    names = [name for some in composites for name in some]
    if (
        all(names)
        and len(set(names)) == len(names)
        and (len(paths) == 1 or not set(names) & set(taken))
    ):
        return dict.fromkeys(paths, "")
    alone = all(len(some) == 1 for some in composites)
    first = [some[0] for some in composites] if alone else [""] * len(paths)
    for choice in _choices([manifests[path] for path in paths]):
        for begin in ([""] * len(paths), first):
            labels = [" ".join(filter(None, one)) for one in zip(begin, choice, strict=True)]
            if _tells_apart(labels, taken):
                return dict(zip(paths, labels, strict=True))
    folders = [path.resolve().name for path in paths]
    chosen = folders if len(set(folders)) == len(folders) else [str(path) for path in paths]
    return dict(zip(paths, chosen, strict=True))


def _tells_apart(labels: Sequence[str], taken: Sequence[str]) -> bool:
    short = all(0 < len(label) <= _LONGEST for label in labels)
    return short and len(set(labels)) == len(labels) and not set(labels) & set(taken)


def _choices(manifests: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """What may tell programs apart, the best first: a text for each of them."""
    weights = [Path(_dict(one.get("weights")).get("file") or "").stem for one in manifests]
    if len(set(weights)) > 1:
        yield weights
    settings = list(_differing([_settings(one) for one in manifests]))
    for number in range(1, _TOGETHER + 1):
        for some in combinations(settings, number):
            yield [" ".join(texts) for texts in zip(*some, strict=True)]
    for one in settings if len(set(weights)) > 1 else ():
        yield [f"{name} {text}" for name, text in zip(weights, one, strict=True)]


def _differing(settings: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """KEY=VALUE of each program for keys that all have, whose values are short and not all alike;
    those of LRPC first."""
    shared = [key for key in settings[0] if all(key in one for one in settings)]
    for key in sorted(shared, key=lambda key: not key.startswith("LRPC.")):
        values = [_text(one[key]) for one in settings]
        if len(set(values)) > 1 and all(len(value) <= _VALUE for value in values):
            yield [f"{key.removeprefix('LRPC.')}={value}" for value in values]


def _settings(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The config by dotted key, and what a program says that was compiled without one."""
    found = dict(_flat(_dict(manifest.get("config"))))
    for key in ("epsilon", "precision"):
        if manifest.get(key) is not None:
            found.setdefault(f"LRPC.{key.upper()}", manifest[key])
    return {key: value for key, value in found.items() if key not in _LEFT_OUT}


def _flat(node: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "")


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
