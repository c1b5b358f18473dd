"""Puts defaults, YAML files and command-line overrides together into one checked `Config`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrpc.config.checks import TRANSFORMERS
from lrpc.config.document import Tag
from lrpc.config.limits import KEY
from lrpc.config.node import Config
from lrpc.config.reader import BASE_KEY, Entry, home, read_flat
from lrpc.config.schema import (
    DEFAULTS,
    SECTIONS,
    flatten,
    is_unread,
    literal,
    nearest_key,
    parse,
)
from lrpc.config.show import show
from lrpc.errors import ConfigError
from lrpc.support.untrusted import is_text, short

_COMMAND_LINE = "command line"

#: Former names of keys, taken for one release with a note.
RENAMED = {"LRPC.STOP": "LRPC.BOUNDARIES"}


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration in the YAML file `path`, over its `_BASE_` files and the defaults.

    `overrides` are alternating keys and values, as they stand at the end of a command line; values
    are Python literals where they can be, and text otherwise. A relative MODEL.WEIGHTS becomes
    absolute: relative to the file that sets it, or to the current folder if an override does.

    Raises ConfigError, in one line that names file and line, for anything unreadable or unknown.
    """
    entries = read_flat(Path(path), SECTIONS.__contains__)
    return _assemble(entries | _parse_overrides(overrides))


def stated_config(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """Return the configuration that a program's manifest holds, with `overrides`; as `load_config`
    does."""
    entries = {key: Entry(value, "the manifest", Path()) for key, value in flatten(values)}
    return _assemble(entries | _parse_overrides(overrides))


def filled(config: Config, found: Mapping[str, Any], origin: str) -> Config:
    """`config` with what was `found` in a model's own files, which `origin` names, wherever it has
    the default."""
    values, origins = config.to_dict(), dict(config.origins)
    for key, value in found.items():
        if key in origins:
            continue
        *sections, name = key.split(".")
        node = values
        for section in sections:
            node = node[section]
        try:
            node[name] = parse(key, value)
        except ValueError as error:
            raise ConfigError(f"{origin}: {key}: {error}") from None
        origins[key] = origin
    return Config(values, origins, config.notes)


def default_config(overrides: Sequence[str] = ()) -> Config:
    """Return the defaults with `overrides`, as `load_config` would without a file."""
    return _assemble(_parse_overrides(overrides))


def override_words(options: Mapping[str, Any]) -> list[str]:
    """Options below LRPC as overrides: KEY VALUE …, each value a literal, exact for 1e-6 and
    True."""
    texts = {key: v if isinstance(v, str) else repr(v) for key, v in options.items()}
    return [word for key, text in texts.items() for word in (f"LRPC.{key}", text)]


def _parse_overrides(overrides: Sequence[str]) -> dict[str, Entry]:
    if len(overrides) % 2:
        raise ConfigError(
            f"{_COMMAND_LINE}: {short(overrides[-1])} has no value; overrides are KEY VALUE pairs"
        )
    entries: dict[str, Entry] = {}
    for key, text in zip(overrides[::2], overrides[1::2], strict=True):
        if not (is_text(key) and is_text(text)):
            raise ConfigError(f"{_COMMAND_LINE}: {short(key)} {short(text)}: is no text in UTF-8")
        if key == BASE_KEY:
            raise ConfigError(
                f"{_COMMAND_LINE}: {BASE_KEY}: belongs into a file; give another file"
            )
        keep_text = isinstance(DEFAULTS.get(key), str)
        try:
            value = text if keep_text else literal(text)
        except ValueError as error:
            raise ConfigError(f"{_COMMAND_LINE}: {short(key)}: {error}") from None
        entries[key] = Entry(value, _COMMAND_LINE, Path())
    return entries


def _assemble(entries: Mapping[str, Entry]) -> Config:
    values: dict[str, Any] = dict(DEFAULTS)
    origins: dict[str, str] = {}
    entries, notes = _renamed(entries)
    for key, entry in entries.items():
        _check_known(key, entry)
        if isinstance(entry.value, Tag):
            notes.append(_skip_tag(key, entry))
            continue
        try:
            values[key] = parse(key, entry.value)
        except ValueError as error:
            raise ConfigError(
                f"{entry.origin}: {key}: {error}; the default is {show(DEFAULTS[key])}"
            ) from None
        origins[key] = entry.origin
    if values["LRPC.SOURCE"].startswith(TRANSFORMERS) and "LRPC.SOURCE" in entries:
        values["LRPC.SOURCE"] = _model_folder(values["LRPC.SOURCE"], entries["LRPC.SOURCE"])
    if "MODEL.WEIGHTS" in entries:
        values["MODEL.WEIGHTS"] = _resolve(values["MODEL.WEIGHTS"], entries["MODEL.WEIGHTS"])
    _check_shapes(values, origins)
    return Config(_nest(values), origins, tuple(notes))


def _renamed(entries: Mapping[str, Entry]) -> tuple[dict[str, Entry], list[str]]:
    """The entries under today's names of their keys, and a note for each that has another."""
    found, notes = dict(entries), []
    for old, new in RENAMED.items():
        if old not in found:
            continue
        entry = found.pop(old)
        if new in found:
            raise ConfigError(f"{entry.origin}: {old}: is a former name of {new}; set that alone")
        found[new] = entry
        notes.append(f"{entry.origin}: {old} is called {new} now")
    return found, notes


def _check_known(key: str, entry: Entry) -> None:
    if key in SECTIONS:
        raise ConfigError(
            f"{entry.origin}: {key}: is a section, got {show(entry.value)}; set a key inside it, "
            f"such as {min(name for name in DEFAULTS if name.startswith(f'{key}.'))}"
        )
    if key.endswith(f".{BASE_KEY}"):
        raise ConfigError(
            f"{entry.origin}: {short(key)}: belongs at the top of the file; move it there"
        )
    if key not in DEFAULTS:
        close = nearest_key(key)
        meant = f"did you mean {close}? Correct it or remove it" if close else "remove it"
        raise ConfigError(f"{entry.origin}: {short(key, KEY)}: unknown key; {meant}")


def _skip_tag(key: str, entry: Entry) -> str:
    tag = f"{entry.origin}: {key}: the YAML tag {entry.value.name} is never evaluated"
    if not is_unread(key):
        raise ConfigError(f"{tag}; write the value out")
    return f"{tag}; the compiler does not read this key and keeps its default"


def _resolve(weights: str, entry: Entry) -> str:
    if not weights or "://" in weights:
        return weights
    return os.path.abspath(home(weights, f"{entry.origin}: MODEL.WEIGHTS", entry.folder))


def _model_folder(source: str, entry: Entry) -> str:
    """A source of transformers with the whole path of its folder, where it is one."""
    place = home(source.removeprefix(TRANSFORMERS), f"{entry.origin}: LRPC.SOURCE", entry.folder)
    return f"{TRANSFORMERS}{os.path.abspath(place)}" if os.path.isdir(place) else source


def _check_shapes(values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    key, divisor_key = "LRPC.SHAPES", "MODEL.MaskDINO.SIZE_DIVISIBILITY"
    divisor = max(1, values[divisor_key])
    for height, width in values[key]:
        if height % divisor or width % divisor:
            near = [max(1, round(side / divisor)) * divisor for side in (height, width)]
            place = origins.get(key) or origins.get(divisor_key, "defaults")
            raise ConfigError(
                f"{place}: {key}: {show([height, width])} is not a multiple of {divisor_key} "
                f"({divisor}); give {show(near)}, images are padded to it"
            )


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        section = tree
        for name in path:
            section = section.setdefault(name, {})
        section[last] = value
    return tree
