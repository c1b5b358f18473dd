"""Local names of a function: none that Python or the program means something by."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from lrpc.backend.quoting import identifier
from lrpc.backend.sources import FUNCTIONS
from lrpc.ir.graph import Value

RESERVED = frozenset(
    {
        *("w", "p", "s", "B", "K", "F", "torch", "device"),
        *("saved", "read", "out", "ledger", "chunk", "held"),
        *("len", "dict", "float"),
        *FUNCTIONS,
    }
)


@dataclass
class Names:
    """Local names for values: the value's stem, made unique within one function."""

    known: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def local(self, value: Value) -> str:
        """The local name of `value`, given on first use."""
        if value.name not in self.known:
            self.known[value.name] = self.fresh(stem(value.name))
        return self.known[value.name]

    def argument(self, value: Value, base: str) -> str:
        """The local name of a function's argument: the same in every function of its kind."""
        self.known[value.name] = self.fresh(base)
        return self.known[value.name]

    def fresh(self, base: str) -> str:
        """A name made from `base` that nothing has yet."""
        base = safe(base)
        name, count = base, 1
        while name in self.taken:
            count += 1
            name = f"{base}_{count}"
        self.taken.add(name)
        return name


@lru_cache(maxsize=65536)
def safe(name: str) -> str:
    """`name` as a Python name, with an underscore where Python or the program means something by
    it."""
    name = identifier(name)  # an input in a dict is called by its path, with dots
    return f"{name}_" if name in RESERVED else name


@lru_cache(maxsize=65536)
def stem(name: str) -> str:
    """A value name without the numbers that made it unique in its graph."""
    return re.sub(r"_\d+(?=_|$)", "", name) or "v"
