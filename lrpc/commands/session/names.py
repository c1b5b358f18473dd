"""Names for what is written: one stem per image, never two alike, on any file system."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def output_stems(paths: Sequence[Path]) -> list[str]:
    """One output stem per path: the file's own stem where that is unique, otherwise as much of the
    path as tells them apart (`a.png`, `a.jpg` → `a_png`, `a_jpg`; then folders), at last a number.
    """
    forms = [_forms(path) for path in paths]
    level = [0] * len(paths)
    while True:
        names = [form[n] for form, n in zip(forms, level, strict=True)]
        count = Counter(name.casefold() for name in names)
        stuck = [count[name.casefold()] > 1 for name in names]
        grow = [s and n + 1 < len(f) for s, n, f in zip(stuck, level, forms, strict=True)]
        if not any(grow):
            return _number(names)
        level = [n + g for n, g in zip(level, grow, strict=True)]


def _forms(path: Path) -> list[str]:
    """Ever longer names for one file."""
    flat = path.name.replace(".", "_")
    folders = [part for part in path.resolve().parent.parts if part != path.anchor]
    folders = [part.strip("/\\:").replace(".", "_") or "root" for part in folders]
    longer = ["_".join([*folders[-n:], flat]) for n in range(1, len(folders) + 1)]
    return [path.stem, flat, *longer]


def _number(names: list[str]) -> list[str]:
    """The same names, with -2, -3, … on what is still repeated."""
    taken: set[str] = set()
    result = []
    for name in names:
        candidate, n = name, 1
        while candidate.casefold() in taken:
            n += 1
            candidate = f"{name}-{n}"
        taken.add(candidate.casefold())
        result.append(candidate)
    return result
