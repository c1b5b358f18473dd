"""Images in folders, by patterns and in lists."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from lrpc.commands.jobs.sources.items import Item, SourceError
from lrpc.commands.session.images import SUFFIXES, annotates
from lrpc.results.source import Place
from lrpc.support.files import reason, shown
from lrpc.support.untrusted import Unreadable, read_text

_LIST = 2**30  # bytes of a list of paths


def in_folder(folder: Path) -> Iterator[Item]:
    """The images in a folder and in those below it, by name, as `find_images` knows them: files of
    known suffixes that are not hidden and not annotations of images beside them."""

    def refuse(error: OSError) -> None:
        raise SourceError(f"{shown(str(error.filename))}: cannot be listed ({reason(error)})")

    for where, below, files in os.walk(folder, onerror=refuse):
        below[:] = sorted(name for name in below if not name.startswith("."))
        images = [n for n in files if _suffix(n) in SUFFIXES and not n.startswith(".")]
        stems = {Path(name).stem for name in images}
        for name in sorted(images):
            if not annotates(name, stems):
                path = Path(where, name)
                yield Item(path.relative_to(folder).as_posix(), Place(path))


def by_pattern(pattern: str) -> Iterator[Item]:
    """The files that a pattern of a shell names, by name; `**` stands for any folders."""
    for text in sorted(glob.glob(pattern, recursive=True)):
        path = Path(text)
        if _suffix(path.name) in SUFFIXES and path.is_file():
            yield Item(path.as_posix(), Place(path))


def in_list(file: Path) -> Iterator[Item]:
    """The images that a text file names, a line each, from its own folder on; empty lines and
    those that begin with # are left out."""
    try:
        text = read_text(file, _LIST)
    except Unreadable as error:
        raise SourceError(f"{shown(file)}: {error}") from error
    for line in text.splitlines():
        name = line.strip()
        if name and not name.startswith("#"):
            yield Item(name, Place(file.parent / name))


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
