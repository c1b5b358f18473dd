"""Nested outputs: the nesting as plain data, and the names of the tensors in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, fx

from lrpc.errors import TraceError


def nested(result: Any) -> Any:
    """What a module returned, in dicts, lists and tuples only; other containers by their fields."""
    if isinstance(result, (Tensor, fx.Proxy, bool, int, float, str)) or result is None:
        return result
    if isinstance(result, Mapping):
        return {str(key): nested(value) for key, value in result.items()}
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return {key: nested(getattr(result, key)) for key in result._fields}
    if isinstance(result, (tuple, list)):
        parts = [nested(value) for value in result]
        return tuple(parts) if isinstance(result, tuple) else parts
    if is_dataclass(result) and not isinstance(result, type):
        return {f.name: nested(getattr(result, f.name)) for f in fields(result)}
    raise TraceError(
        f"the model returns a {type(result).__name__}; "
        "tensors in dicts, lists, tuples and dataclasses can be compiled"
    )


def described(result: Any, leaf: type, path: tuple[str, ...] = ()) -> tuple[Any, dict[str, Any]]:
    """The nesting of `result` as JSON-able data, and its leaves by name.

    A tensor is its name: "output" for a bare one, else its keys and indices joined by ".";
    containers are {"dict": {key: …}}, {"list": […]} and {"tuple": […]}; the rest is {"value": it}.
    """
    if isinstance(result, leaf):
        name = ".".join(path) or "output"
        return name, {name: result}
    if isinstance(result, (dict, list, tuple)):
        pairs = result.items() if isinstance(result, dict) else enumerate(result)
        parts = {str(k): described(v, leaf, (*path, str(k))) for k, v in pairs}
        leaves = {name: x for _, found in parts.values() for name, x in found.items()}
        kind = type(result).__name__
        shapes = {key: shape for key, (shape, _) in parts.items()}
        return {kind: shapes if kind == "dict" else list(shapes.values())}, leaves
    return {"value": result}, {}


def rebuilt(structure: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The nested outputs that `structure` describes, around the named tensors."""
    if isinstance(structure, str):
        return tensors[structure]
    ((kind, content),) = structure.items()
    if kind == "value":
        return content
    if kind == "dict":
        return {key: rebuilt(part, tensors) for key, part in content.items()}
    parts = [rebuilt(part, tensors) for part in content]
    return tuple(parts) if kind == "tuple" else parts
