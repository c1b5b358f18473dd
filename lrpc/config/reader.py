"""Reads detectron2-style YAML files with their `_BASE_` files into flat keys with their places."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lrpc.config import limits
from lrpc.config.document import Document, DocumentError
from lrpc.errors import ConfigError
from lrpc.support.untrusted import Unreadable, read_text, short

BASE_KEY = "_BASE_"
IsSection = Callable[[str], bool]


@dataclass(frozen=True)
class Entry:
    """A value as written, where it was written ("file:line"), and the folder it is relative to."""

    value: Any
    origin: str
    folder: Path


def read_flat(path: Path, is_section: IsSection) -> dict[str, Entry]:
    """Read `path` over its `_BASE_` files; return full keys ("MODEL.WEIGHTS") with their entries.

    A mapping is entered only where `is_section` says that its full key is a section. Of several
    bases a later one overrides an earlier one, and the file overrides its bases.
    """
    return _Files(is_section).read(path, (), "")


@dataclass
class _Files:
    """The files of one config. Each is read once, however often it is named."""

    is_section: IsSection
    known: dict[str, dict[str, Entry]] = field(default_factory=dict)
    count: int = 0

    def read(self, path: Path, chain: tuple[str, ...], cause: str) -> dict[str, Entry]:
        """The entries of a file and its bases; `chain` has the files that lead to it."""
        real = _real(path)
        if real not in self.known:
            self.count += 1
            if self.count > limits.FILES:
                raise ConfigError(f"{cause}{path}: more than {limits.FILES} files; merge some")
            self.known[real] = self._read(path, (*chain, real), cause)
        return self.known[real]

    def _read(self, path: Path, chain: tuple[str, ...], cause: str) -> dict[str, Entry]:
        try:
            entries = _entries(path, cause, self.is_section)
        except DocumentError as error:
            raise ConfigError(f"{path}{error}") from None
        base = entries.pop(BASE_KEY, None)
        merged: dict[str, Entry] = {}
        for name in _base_names(base):
            assert base is not None
            target = _base_path(name, base)
            if _real(target) in chain:
                raise ConfigError(
                    f"{base.origin}: {BASE_KEY}: {short(name)} leads back to itself; "
                    "remove one of the two"
                )
            if len(chain) > limits.BASES:
                raise ConfigError(
                    f"{base.origin}: {BASE_KEY}: {short(name)} is more than {limits.BASES} files "
                    "away from the first; merge some"
                )
            merged.update(self.read(target, chain, f"{base.origin}: {BASE_KEY}: "))
        merged.update(entries)
        return merged


def _real(path: Path) -> str:
    """The path behind symbolic links, by which a file is known again."""
    try:
        return os.path.realpath(path)
    except ValueError:  # no name of a file: reading it says so
        return str(path)


def _base_names(base: Entry | None) -> list[str]:
    if base is None:
        return []
    names = base.value if isinstance(base.value, list) else [base.value]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"{base.origin}: {BASE_KEY}: expected a path or a list of paths")
    return names


def _base_path(name: str, base: Entry) -> Path:
    where = f"{base.origin}: {BASE_KEY}: {short(name)}"
    if "://" in name:
        raise ConfigError(f"{where} is not a file; download it first")
    return home(name, where, base.folder)


def home(name: str, where: str, folder: Path) -> Path:
    """The path that `name` is in `folder`, with ~ for a home; ConfigError where there is none."""
    try:
        path = Path(name).expanduser()
    except RuntimeError:
        raise ConfigError(f"{where}: no such user; check the path") from None
    return path if path.is_absolute() else folder / path


def _entries(path: Path, cause: str, is_section: IsSection) -> dict[str, Entry]:
    """Full keys with their entries, in file order; an empty section has none."""
    try:
        document = Document(read_text(path, limits.FILE))
    except Unreadable as error:
        remedy = "give a YAML file" if error.found else "check the path"
        raise ConfigError(f"{cause}{short(str(path), 300)}: {error}; {remedy}") from error
    if not isinstance(document.root, yaml.MappingNode):
        raise ConfigError(f"{path}:1: expected keys such as MODEL at the top of the file")
    return dict(_flatten(document, path, document.root, "", is_section, ()))


def _flatten(
    document: Document,
    path: Path,
    node: yaml.MappingNode,
    prefix: str,
    is_section: IsSection,
    inside: tuple[yaml.Node, ...],
) -> Iterator[tuple[str, Entry]]:
    for name, (key_node, value_node) in document.pairs(node, inside, prefix).items():
        key, within = f"{prefix}{name}", (*inside, node)
        if is_section(key) and isinstance(value_node, yaml.MappingNode):
            yield from _flatten(document, path, value_node, f"{key}.", is_section, within)
            continue
        value = document.value(value_node, within)
        if not (is_section(key) and value is None):
            origin = f"{path}:{key_node.start_mark.line + 1}"
            yield key, Entry(value, origin, path.parent)
