"""Nested outputs: the nesting as plain data, and the names of the tensors in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor

from lrpc.errors import TraceError


@dataclass(frozen=True)
class Dropped:
    """An output that is no tensor and holds none that a program gives, such as a cache."""

    kind: str


def nested(result: Any) -> Any:
    """What a module returned, in dicts, lists and tuples only; other containers by their fields,
    and what is none of these as `Dropped`."""
    if isinstance(result, (Tensor, bool, int, float, str)) or result is None:
        return result
    if isinstance(result, Mapping):
        return {
            key if isinstance(key, int) else str(key): nested(value)
            for key, value in result.items()
        }
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return {key: nested(getattr(result, key)) for key in result._fields}
    if isinstance(result, (tuple, list)):
        parts = [nested(value) for value in result]
        return tuple(parts) if isinstance(result, tuple) else parts
    if is_dataclass(result) and not isinstance(result, (type, Dropped)):
        return {f.name: nested(getattr(result, f.name)) for f in fields(result)}
    return Dropped(type(result).__name__)


def dropped(result: Any, path: tuple[str, ...] = ()) -> list[str]:
    """What a program leaves out of a nested result, by name: `past_key_values (DynamicCache)`."""
    if isinstance(result, Dropped):
        return [f"{'.'.join(path) or 'output'} ({result.kind})"]
    if not isinstance(result, (dict, list, tuple)):
        return []
    pairs = result.items() if isinstance(result, dict) else enumerate(result)
    return [name for key, value in pairs for name in dropped(value, (*path, str(key)))]


def described(result: Any, leaf: type, path: tuple[str, ...] = ()) -> tuple[Any, dict[str, Any]]:
    """The nesting of `result` as JSON-able data, and its leaves by name.

    A tensor is its name: "output" for a bare one, else its keys and indices joined by ".";
    containers are {"dict": {key: …}}, {"items": [[key, …], …]} for keys that are numbers,
    {"list": […]} and {"tuple": […]}; the rest is {"value": it}. TraceError for two of one name.
    """
    if isinstance(result, leaf):
        name = ".".join(path) or "output"
        return name, {name: result}
    if isinstance(result, (dict, list, tuple)):
        pairs = list(result.items() if isinstance(result, dict) else enumerate(result))
        parts = [described(value, leaf, (*path, str(key))) for key, value in pairs]
        return _container(result, [key for key, _ in pairs], [p for p, _ in parts]), _joined(
            [found for _, found in parts]
        )
    return {"value": None if isinstance(result, Dropped) else result}, {}


def _container(result: Any, keys: list[Any], parts: list[Any]) -> Any:
    if not isinstance(result, dict):
        return {"tuple" if isinstance(result, tuple) else "list": parts}
    if any(isinstance(key, int) for key in keys):
        return {"items": [list(pair) for pair in zip(keys, parts, strict=True)]}
    return {"dict": dict(zip(keys, parts, strict=True))}


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for found in parts:
        if twice := leaves.keys() & found.keys():
            raise TraceError(f"two outputs would be called {min(twice)!r}; rename a key of either")
        leaves |= found
    return leaves
