"""Images in folders, by patterns and in lists."""

from __future__ import annotations

import glob
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from lrpc.commands.jobs.sources.items import Item, SourceError
from lrpc.commands.session.images import SUFFIXES, annotates
from lrpc.results.layout import REPORT
from lrpc.results.source import Place
from lrpc.support.files import reason, shown
from lrpc.support.untrusted import Unreadable, read_text

_TENSORS = ".relevance.safetensors"  # of an image, beside its pictures
_LIST = 2**30  # bytes of a list of paths


def in_folder(folder: Path) -> Iterator[Item]:
    """The images in a folder and in those below it, by name, as `photographs` knows them."""
    for where, files in _walk(folder):
        for name in sorted(photographs(files)):
            yield Item((where.relative_to(folder) / name).as_posix(), Place(where / name))


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those below it that are not hidden, with their files. Links to folders elsewhere
    are followed, each folder once; reports that lrpc made are left out."""

    def refuse(error: OSError) -> None:
        raise SourceError(f"{shown(str(error.filename))}: cannot be listed ({reason(error)})")

    root = os.path.realpath(folder)
    been: set[str] = set()
    for where, below, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(where)
        if real in been or REPORT in files:
            below.clear()
            continue
        been.add(real)
        below[:] = sorted(name for name in below if not _again(Path(where, name), root))
        yield Path(where), files


def _again(folder: Path, root: str) -> bool:
    """Whether a folder is hidden, or a link to one that is found under its own name."""
    if folder.name.startswith("."):
        return True
    return folder.is_symlink() and Path(os.path.realpath(folder)).is_relative_to(root)


def photographs(names: Iterable[str]) -> list[str]:
    """Of the files of folders those of known suffixes that are not hidden, not annotations of
    images beside them, and no pictures that `lrpc run --images` drew."""
    images, stems = [], defaultdict(set)
    for name in names:
        path = PurePosixPath(name)
        if _suffix(name) in SUFFIXES and not _hidden(path):
            images.append((name, path))
            stems[path.parent].add(path.stem)
        elif name.endswith(_TENSORS):
            stems[path.parent].add(path.name.removesuffix(_TENSORS))
    return [name for name, path in images if not annotates(path.name, stems[path.parent])]


def _hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in path.parts)


def by_pattern(pattern: str) -> Iterator[Item]:
    """The images that a pattern of a shell names, by name from its last folder without a mark on;
    `**` stands for any folders, as `_walk` finds them."""
    parts = Path(pattern).parts
    fixed = next(n for n, part in enumerate(parts) if glob.has_magic(part))
    folder, wanted = Path(*parts[:fixed]), parts[fixed:]
    if "**" in wanted:
        every = (where / name for where, files in _walk(folder) for name in files)
        found = [one for one in every if _matches(one.relative_to(folder).parts, wanted)]
    else:
        found = [Path(text) for text in glob.glob(pattern)]
    for path in sorted(found):
        if _suffix(path.name) in SUFFIXES and path.is_file() and not _in_report(path.parent):
            yield Item(path.relative_to(folder).as_posix(), Place(path))


def _matches(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether a path fits a pattern; what is hidden fits a pattern that begins with a dot."""
    if not wanted or wanted == ("**",):
        return not parts or bool(wanted)
    if wanted[0] == "**":
        return any(_matches(parts[n:], wanted[1:]) for n in range(len(parts) + 1))
    if not parts or (parts[0].startswith(".") and not wanted[0].startswith(".")):
        return False
    return fnmatchcase(parts[0], wanted[0]) and _matches(parts[1:], wanted[1:])


def _in_report(folder: Path) -> bool:
    """Whether a folder is in a report that lrpc made."""
    return any((one / REPORT).is_file() for one in (folder, *folder.parents))


def in_list(file: Path) -> Iterator[Item]:
    """The images that a text file names, a line each, from its own folder on; empty lines and
    those that begin with # are left out."""
    try:
        text = read_text(file, _LIST)
    except Unreadable as error:
        raise SourceError(f"{shown(file)}: {error}") from error
    for line in text.split("\n"):
        name = line.strip()
        if name and not name.startswith("#"):
            yield Item(name, Place(file.parent / name))


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
