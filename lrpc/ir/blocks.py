"""Which part of a model a node belongs to: the repeated blocks that become one function each."""

from __future__ import annotations

import re

_INDEXED = re.compile(r"^(.*?\.\d+)(?:\.|$)")


def block_of(module: str) -> str:
    """The module path up to its first list index (`encoder.layers.3`), or "" outside any list."""
    match = _INDEXED.match(module)
    return match.group(1) if match else ""
