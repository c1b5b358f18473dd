"""From `--data` to a list of images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lrpc.commands.jobs.sources.coco import in_coco
from lrpc.commands.jobs.sources.files import by_pattern, in_folder, in_list
from lrpc.commands.jobs.sources.items import Item, SourceError
from lrpc.commands.jobs.sources.shards import in_tar
from lrpc.commands.jobs.sources.tables import in_csv, in_parquet
from lrpc.results.source import Place
from lrpc.support.files import shown

FORMS = (
    "a folder (and those below it), a pattern such as 'photos/**/*.jpg', a list of paths (.txt),"
    " a table (.csv, .tsv, .parquet), COCO annotations (.json), or a shard (.tar)"
)


@dataclass(frozen=True)
class Source:
    """What `--data`, `--column` and `--image-folder` name."""

    paths: tuple[Path, ...]
    column: str | None = None
    folder: Path | None = None

    def record(self) -> dict[str, object]:
        """The source, as a job keeps it: the same from whatever folder it is named."""
        return {
            "paths": [os.path.abspath(path) for path in self.paths],
            "column": self.column,
            "folder": None if self.folder is None else os.path.abspath(self.folder),
        }


def find(source: Source) -> list[Item]:
    """Every image of a source, in order, each name once. Raises SourceError."""
    listed: list[Item] = []
    for path in source.paths:
        found = list(_of(path, source))
        if not found:
            raise SourceError(f"{shown(path)}: no image in it")
        if not any(os.path.lexists(one.place.path) for one in found if "\0" not in one.name):
            raise SourceError(_none_there(path, found))
        listed += _named(found, path) if len(source.paths) > 1 else found
    return _once(listed)


def _of(path: Path, source: Source) -> Iterator[Item]:
    suffix = path.suffix.lower()
    if path.is_dir():
        return in_folder(path)
    if not path.exists():
        if any(mark in str(path) for mark in "*?["):
            return by_pattern(str(path))
        raise SourceError(f"{shown(path)}: no such file or folder; --data takes {FORMS}")
    if suffix == ".json":
        return in_coco(path, source.folder)
    if suffix == ".parquet":
        return in_parquet(path, source.column)
    if suffix in (".csv", ".tsv"):
        return in_csv(path, source.column)
    if suffix in (".txt", ".lst"):
        return in_list(path)
    if ".tar" in path.suffixes or suffix == ".tgz":
        return in_tar(path)
    return iter([Item(path.name, Place(path))])


def _none_there(path: Path, items: Sequence[Item]) -> str:
    """What to say of a source none of whose files is there."""
    hint = "; --image-folder says where they are" if path.suffix.lower() == ".json" else ""
    first = shown(items[0].place.path)
    return f"{shown(path)}: none of the {len(items)} files that it names is there ({first}){hint}"


def _named(items: Sequence[Item], path: Path) -> list[Item]:
    """Items of one of several sources: names begin with the source's, where that is a folder."""
    if not path.is_dir():
        return list(items)
    return [replace(one, name=f"{path.resolve().name}/{one.name}") for one in items]


def _once(items: Sequence[Item]) -> list[Item]:
    """Each image once, with the objects of all its entries; names that several images have become
    their whole paths."""
    found: dict[tuple[str, int], Item] = {}
    for one in items:
        place = replace(one.place, path=Path(os.path.abspath(one.place.path)))
        key = (_real(place.path), place.start)
        first = found.setdefault(key, replace(one, place=place))
        if one.truth is not None and one.truth != first.truth:
            truth = tuple(dict.fromkeys((*(first.truth or ()), *one.truth)))
            found[key] = replace(first, truth=truth)
    kept = list(found.values())
    count = Counter(one.name for one in kept)
    return [one if count[one.name] == 1 else replace(one, name=_whole(one)) for one in kept]


def _real(path: Path) -> str:
    """Where a file is without links; a name that no file has stays as it is."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)


def _whole(item: Item) -> str:
    """A name that no other image has."""
    path = os.path.abspath(item.place.path)
    return f"{path}:{item.place.start}" if item.place.size >= 0 else path
