"""Typed access to the keys of a detectron2 configuration."""

from __future__ import annotations

from lrpc.errors import ConfigError

STAGES = ("res2", "res3", "res4", "res5")
_MISSING = object()


def read(config: object, path: str, default: object = _MISSING) -> object:
    """Value at the dotted `path` of `config` by attribute access; `default` where it is absent."""
    node = config
    for name in path.split("."):
        node = getattr(node, name, _MISSING)
        if node is _MISSING:
            if default is _MISSING:
                raise ConfigError(f"{path}: missing, and the embedded MaskDINO needs it")
            return default
    return node


class Reader:
    """Typed access to a configuration; a value of the wrong type is an error that names its key."""

    def __init__(self, config: object) -> None:
        self._config = config

    def integer(self, path: str) -> int:
        value = read(self._config, path)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{path}: expected a positive integer, found {value!r}")
        return value

    def integers(self, path: str) -> tuple[int, ...]:
        """One positive integer for each stage."""
        value = read(self._config, path)
        if (
            not isinstance(value, list | tuple)
            or len(value) != len(STAGES)
            or any(type(n) is not int or n < 1 for n in value)
        ):
            raise ConfigError(f"{path}: expected four positive integers, found {value!r}")
        return tuple(value)

    def number(self, path: str) -> float:
        value = read(self._config, path)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{path}: expected a number, found {value!r}")
        return float(value)

    def flag(self, path: str, default: object = _MISSING) -> bool:
        value = read(self._config, path, default)
        if not isinstance(value, bool):
            raise ConfigError(f"{path}: expected True or False, found {value!r}")
        return value

    def choice(self, path: str, allowed: tuple[str, ...], default: object = _MISSING) -> str:
        value = read(self._config, path, default)
        if not isinstance(value, str) or value not in allowed:
            options = ", ".join(repr(option) for option in allowed)
            raise ConfigError(f"{path}: {value!r} is not supported; supported: {options}")
        return value

    def stages(self, path: str) -> tuple[str, ...]:
        value = read(self._config, path)
        if not isinstance(value, list | tuple) or not set(value) <= set(STAGES) or not value:
            raise ConfigError(
                f"{path}: expected a list out of {', '.join(STAGES)}, found {value!r}"
            )
        return tuple(value)

    def three_numbers(self, path: str) -> tuple[float, float, float]:
        value = read(self._config, path)
        if not isinstance(value, list | tuple) or len(value) != 3:
            raise ConfigError(f"{path}: expected three numbers, found {value!r}")
        return float(value[0]), float(value[1]), float(value[2])
