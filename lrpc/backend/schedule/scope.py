"""The values of one function or block, as the verifier goes through its statements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lrpc.backend.schedule.memory import Memory
from lrpc.ir.graph import Value
from lrpc.ir.types import TensorType


class Wrong(Exception):
    """What does not hold."""


@dataclass
class Scope:
    """The values of one function or block."""

    known: dict[str, TensorType] = field(default_factory=dict)
    freed: set[str] = field(default_factory=set)
    memory: Memory = field(default_factory=Memory)
    inner: bool = False  # of a function or block that others call

    def define(self, values: Iterable[Value]) -> None:
        for value in values:
            if value.name in self.known:
                raise Wrong(f"%{value.name} is made twice")
            self.known[value.name] = value.type

    def read(self, value: Value, named: bool = False) -> None:
        if value.name in self.freed:
            raise Wrong(f"%{value.name} is read after it is freed")
        if value.name not in self.known:
            raise Wrong(f"%{value.name} is read before it is made")
        if self.known[value.name] != value.type:
            raise Wrong(f"%{value.name} is {self.known[value.name]}, read as {value.type}")
        if not named and self.memory.gone(value.name):
            raise Wrong(f"%{value.name} is read after its memory is written over")

    def free(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self.freed:
                raise Wrong(f"%{name} is freed twice")
            if name not in self.known:
                raise Wrong(f"%{name} is freed before it is made")
            self.freed.add(name)
