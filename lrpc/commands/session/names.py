"""Names for what is written: one stem per image, never two alike, on any file system."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from lrpc.commands.session.images import SUFFIXES

_MARK = 8  # hexadecimal digits of an image's identity in a name


def identity(path: Path) -> str:
    """Which file a path names, wherever it is named from: the same for all paths to it."""
    return hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]


def output_stems(
    paths: Sequence[Path], owner: Callable[[str], str | None] = lambda stem: None
) -> list[str]:
    """One output stem per path. `owner` says which image (`identity`) an output folder has under a
    stem (None: no image).

    It is the file's own stem, with the suffix where its folder has several images of that stem
    (`a.png`, `a.jpg` → `a_png`, `a_jpg`). A stem that another image has, here or in the output
    folder, gets a mark of the file's path: `a-1b2c3d4e`. What an image was called in the output
    folder it is called again.
    """
    marks = [identity(path) for path in paths]
    plain = [_plain(path) for path in paths]
    claims: dict[str, set[str]] = defaultdict(set)
    for name, mark in zip(plain, marks, strict=True):
        claims[name.casefold()].add(mark)
    names = []
    for path, name, mark in zip(paths, plain, marks, strict=True):
        marked = f"{name}-{mark[:_MARK]}"
        earlier = (path.stem, name, marked, f"{path.stem}-{mark[:_MARK]}")
        known = [one for one in earlier if owner(one) == mark]
        free = len(claims[name.casefold()]) == 1 and owner(name) is None
        names.append(known[0] if known else name if free else marked)
    return _apart(names, marks)


def _plain(path: Path) -> str:
    """A name by the file's own, which no other image of its folder has."""
    folder = _stems_in(path.parent, _changed(path.parent))
    others = folder[path.stem.casefold()] - (path.suffix.lower() in SUFFIXES)
    return path.name.replace(".", "_") if others > 0 else path.stem


def _changed(folder: Path) -> int:
    with suppress(OSError):
        return folder.stat().st_mtime_ns
    return -1


@lru_cache(maxsize=64)
def _stems_in(folder: Path, changed: int) -> Counter[str]:
    """How many images of a folder have each stem, whatever its case."""
    with suppress(OSError), os.scandir(folder) as inside:
        paths = [Path(entry.name) for entry in inside]
        return Counter(one.stem.casefold() for one in paths if one.suffix.lower() in SUFFIXES)
    return Counter()


def _apart(names: Sequence[str], marks: Sequence[str]) -> list[str]:
    """The same names, with the whole identity on those that several images still have."""
    claims: dict[str, set[str]] = defaultdict(set)
    for name, mark in zip(names, marks, strict=True):
        claims[name.casefold()].add(mark)
    return [
        f"{name}-{mark}" if len(claims[name.casefold()]) > 1 else name
        for name, mark in zip(names, marks, strict=True)
    ]
