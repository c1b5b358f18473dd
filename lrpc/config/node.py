"""The immutable configuration that every later stage reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from lrpc.errors import ConfigError

_WEIGHTS = ("MODEL", "WEIGHTS")


class Config(Mapping[str, Any]):
    """A read-only tree: `config.MODEL.WEIGHTS` is `config["MODEL"]["WEIGHTS"]`.

    Sections are `Config`s and sequences are tuples. Two configs are equal if all their values are;
    where a value was set and what was noted while reading does not count.
    """

    __slots__ = ("_data", "_notes", "_origins")

    _data: Mapping[str, Any]
    _origins: Mapping[str, str]
    _notes: tuple[str, ...]

    def __init__(
        self,
        values: Mapping[str, Any],
        origins: Mapping[str, str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        data = {str(key): _freeze(value) for key, value in values.items()}
        object.__setattr__(self, "_data", MappingProxyType(data))
        object.__setattr__(self, "_origins", MappingProxyType(dict(origins or {})))
        object.__setattr__(self, "_notes", notes)

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._data[name]
        except KeyError:
            raise AttributeError(f"no key {name!r} in this section of the configuration") from None

    def __setattr__(self, name: str, value: object) -> None:
        raise ConfigError(_immutable(name))

    def __delattr__(self, name: str) -> None:
        raise ConfigError(_immutable(name))

    def __hash__(self) -> int:
        return hash(json.dumps(self.to_dict(), sort_keys=True))

    def __reduce__(self) -> tuple[type[Config], tuple[Any, ...]]:
        return Config, (self.to_dict(), dict(self._origins), self._notes)

    def __repr__(self) -> str:
        return f"Config({self.to_dict()!r})"

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each value that was read over, such as an unevaluated YAML tag."""
        return self._notes

    @property
    def origins(self) -> Mapping[str, str]:
        """Where each key was set, of those that were."""
        return self._origins

    def where(self, key: str) -> str:
        """Where the full `key` was set: "file:line", "command line", or "defaults"."""
        return self._origins.get(key, "defaults")

    def to_dict(self, *, portable: bool = False) -> dict[str, Any]:
        """Return plain dicts, lists and scalars, fit for JSON and YAML.

        `portable` leaves only the names of the file in MODEL.WEIGHTS and of a folder in
        LRPC.SOURCE, so that the result says the same on every machine: what the file holds is told
        by its own checksum.
        """
        plain: dict[str, Any] = {key: _thaw(value) for key, value in self._data.items()}
        section, key = _WEIGHTS
        if portable and isinstance(plain.get(section), dict) and plain[section].get(key):
            plain[section][key] = PurePath(plain[section][key]).name
        place, colon, folder = str(plain.get("LRPC", {}).get("SOURCE", "")).partition(":")
        if portable and colon and PurePath(folder).is_absolute():
            plain["LRPC"]["SOURCE"] = f"{place}:{PurePath(folder).name}"
        return plain

    def digest(self) -> str:
        """Sha256 (hex) of the canonical JSON of the portable values."""
        text = json.dumps(self.to_dict(portable=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _immutable(name: str) -> str:
    return f"{name}: a configuration cannot be changed; load it again with overrides"


def _freeze(value: Any) -> Any:
    if isinstance(value, Config):
        return value
    if isinstance(value, Mapping):
        return Config(value)
    if isinstance(value, list | tuple):
        return tuple(_freeze(item) for item in value)
    return value


def _thaw(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_thaw(item) for item in value]
    return value
