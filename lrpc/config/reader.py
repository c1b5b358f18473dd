"""Reads detectron2-style YAML files with their `_BASE_` files into flat keys with their places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lrpc.errors import ConfigError

BASE_KEY = "_BASE_"
_PREFIX = "tag:yaml.org,2002:"
_PLAIN = frozenset(f"{_PREFIX}{name}" for name in ("str", "int", "float", "bool", "null"))
_TIMESTAMP = f"{_PREFIX}timestamp"
_MAX_NODES = 100_000


@dataclass(frozen=True)
class Tag:
    """Stands for a value with a YAML tag that would have to run code; it is never evaluated."""

    name: str


@dataclass(frozen=True)
class Entry:
    """A value as written, where it was written ("file:line"), and the folder it is relative to."""

    value: Any
    origin: str
    folder: Path


def read_flat(path: Path, is_section: Callable[[str], bool]) -> dict[str, Entry]:
    """Read `path` over its `_BASE_` files; return full keys ("MODEL.WEIGHTS") with their entries.

    A mapping is entered only where `is_section` says that its full key is a section. Of several
    bases a later one overrides an earlier one, and the file overrides its bases.
    """
    return _read(path, is_section, ())


def _read(
    path: Path, is_section: Callable[[str], bool], chain: tuple[Path, ...], cause: str = ""
) -> dict[str, Entry]:
    reader = _Reader(path, cause)
    entries = dict(reader.flatten(is_section))
    base = entries.pop(BASE_KEY, None)
    merged: dict[str, Entry] = {}
    here = (*chain, path.resolve())
    for name in _base_names(base):
        assert base is not None
        target = _base_path(name, base)
        if target.resolve() in here:
            raise ConfigError(
                f"{base.origin}: {BASE_KEY}: {name} leads back to itself; remove one of the two"
            )
        merged.update(_read(target, is_section, here, f"{base.origin}: {BASE_KEY}: "))
    merged.update(entries)
    return merged


def _base_names(base: Entry | None) -> list[str]:
    if base is None:
        return []
    names = base.value if isinstance(base.value, list) else [base.value]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"{base.origin}: {BASE_KEY}: expected a path or a list of paths")
    return names


def _base_path(name: str, base: Entry) -> Path:
    if "://" in name:
        raise ConfigError(f"{base.origin}: {BASE_KEY}: {name} is not a file; download it first")
    path = Path(name).expanduser()
    return path if path.is_absolute() else base.folder / path


def _first_tag(values: Iterable[Any]) -> Tag | None:
    """A list or mapping that holds a tagged value cannot be had without it."""
    return next((value for value in values if isinstance(value, Tag)), None)


class _Reader:
    """One YAML file, composed into nodes so that every value keeps its line."""

    def __init__(self, path: Path, cause: str) -> None:
        self.path = path
        self.nodes = 0
        try:
            self.loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
            self.root = self.loader.get_single_node()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(f"{cause}{path}: {reason}; check the path") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{cause}{path}: not UTF-8 text; give a YAML file") from error
        except yaml.YAMLError as error:
            raise ConfigError(self._syntax_error(error)) from error
        except RecursionError as error:
            raise ConfigError(f"{path}: nested too deeply; flatten it") from error

    def flatten(self, is_section: Callable[[str], bool]) -> Iterator[tuple[str, Entry]]:
        """Yield (full key, entry) in file order; an empty section yields nothing."""
        if not isinstance(self.root, yaml.MappingNode):
            raise ConfigError(f"{self.path}:1: expected keys such as MODEL at the top of the file")
        yield from self._flatten(self.root, "", is_section, ())

    def _flatten(
        self,
        node: yaml.MappingNode,
        prefix: str,
        is_section: Callable[[str], bool],
        inside: tuple[yaml.Node, ...],
    ) -> Iterator[tuple[str, Entry]]:
        for key_node, value_node in self._pairs(node, prefix, inside):
            key = f"{prefix}{key_node.value}"
            if is_section(key) and isinstance(value_node, yaml.MappingNode):
                yield from self._flatten(value_node, f"{key}.", is_section, (*inside, node))
                continue
            value = self._value(value_node, (*inside, node))
            if not (is_section(key) and value is None):
                yield key, Entry(value, self._place(key_node), self.path.parent)

    def _pairs(
        self, node: yaml.MappingNode, prefix: str, inside: tuple[yaml.Node, ...]
    ) -> list[tuple[yaml.Node, yaml.Node]]:
        """Return the pairs of a mapping, each key once, with "<<: *anchor" merged in."""
        self._guard(node, inside)
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise ConfigError(
                    f"{self._place(key)}: {prefix}{key.value}: given twice; remove one of the two"
                )
            seen.add(str(key.value))
        try:
            self.loader.flatten_mapping(node)
        except yaml.YAMLError as error:
            raise ConfigError(self._syntax_error(error)) from error
        # Merged pairs stand first, so that the mapping's own ones replace them here.
        pairs = {str(key.value): (key, value) for key, value in node.value}
        node.value = list(pairs.values())
        return list(pairs.values())

    def _value(self, node: yaml.Node, inside: tuple[yaml.Node, ...]) -> Any:
        self._guard(node, inside)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_PREFIX}map":
            pairs = self._pairs(node, "", inside)
            values = {str(key.value): self._value(value, (*inside, node)) for key, value in pairs}
            return _first_tag(values.values()) or values
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_PREFIX}seq":
            items = [self._value(item, (*inside, node)) for item in node.value]
            return _first_tag(items) or items
        if node.tag == _TIMESTAMP:
            return node.value
        if node.tag not in _PLAIN:
            return Tag(node.tag.replace(_PREFIX, "!!"))
        try:
            return self.loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"{self._place(node)}: {node.value!r} is not a value") from error

    def _guard(self, node: yaml.Node, inside: tuple[yaml.Node, ...]) -> None:
        self.nodes += 1
        if self.nodes > _MAX_NODES:
            raise ConfigError(f"{self.path}: more than {_MAX_NODES} values; remove YAML aliases")
        if any(node is outer for outer in inside):
            raise ConfigError(f"{self._place(node)}: a YAML alias contains itself; remove it")

    def _place(self, node: yaml.Node) -> str:
        return f"{self.path}:{node.start_mark.line + 1}"

    def _syntax_error(self, error: yaml.YAMLError) -> str:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        return f"{self.path}{line}: not valid YAML ({problem}); correct the syntax there"
