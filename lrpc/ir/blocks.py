"""Which part of a model a node belongs to: the repeated blocks that become one function each."""

from __future__ import annotations

import re
from functools import lru_cache

# A list's index, as in encoder.layers.3, or a numbered name, as in layers.encoder_layer_3.
_INDEXED = re.compile(r"((?:.*?\.)??(?:\w+_layer_)?(\d+))(?:\.|\Z)", re.DOTALL)


@lru_cache(maxsize=65536)
def block_of(module: str) -> str:
    """The module path up to its first index (`encoder.layers.3`), or "" outside any list."""
    match = _INDEXED.match(module)
    return match.group(1) if match else ""


def layer_of(module: str) -> int | None:
    """The first index in a module path, or None outside any list."""
    match = _INDEXED.match(module)
    return int(match.group(2)) if match else None
