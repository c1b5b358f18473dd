"""Which statements do the same, whatever their values are called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lrpc.backend.schedule.ir import Call, Compute, Free, Load, Only, Read, Recompute, Statement
from lrpc.backend.schedule.walk import operands, results
from lrpc.ir.graph import Value


@dataclass
class Same:
    """Statements of two functions that do the same; `there` has the names of the other."""

    there: dict[str, str] = field(default_factory=dict)
    here: dict[str, str] = field(default_factory=dict)

    def statements(self, s: Statement, t: Statement) -> bool:
        """Whether two statements are the same, if values are called as in those before."""
        return type(s) is type(t) and plain(s) == plain(t) and self.names(s, t)

    def names(self, s: Statement, t: Statement) -> bool:
        """The same of statements that are the same but for the names of their values."""
        new: list[tuple[str, str]] = []
        for a, b in _pairs(s, t):
            if a not in self.there and b not in self.here:
                self.there[a], self.here[b] = b, a
                new.append((a, b))
            elif self.there.get(a) != b:
                for x, y in new:
                    del self.there[x], self.here[y]
                return False
        return True


def _pairs(s: Statement, t: Statement) -> Iterator[tuple[str, str]]:
    """The names that have to be of one value each."""
    if isinstance(s, Only) and isinstance(t, Only):
        for a, b in zip(s.body, t.body, strict=True):
            yield from _pairs(a, b)
    elif isinstance(s, Free) and isinstance(t, Free):
        yield from zip(s.values, t.values, strict=True)
    else:
        for x, y in zip((*operands(s), *results(s)), (*operands(t), *results(t)), strict=True):
            if isinstance(x, Value) and isinstance(y, Value):
                yield x.name, y.name
        if isinstance(s, Call) and isinstance(t, Call):
            yield from zip(s.values, t.values, strict=True)


def plain(s: Statement) -> object:
    """A statement without the names of its values."""
    read = tuple(x if isinstance(x, Load) else x.type for x in operands(s))
    made = tuple(v.type for v in results(s))
    if isinstance(s, Only):
        return (s.ledger, tuple(map(plain, s.body)))
    if isinstance(s, Free):
        return (len(s.values), s.parts)
    if isinstance(s, Call):
        return (s.function, s.prefix, s.part, read, made, s.over, s.gives)
    if isinstance(s, Compute):
        return (s.op, read, made, s.attrs, s.origin, s.over, s.keeps)
    if isinstance(s, Recompute):
        run = plain(s.run) if s.run is not None else None
        return (s.scope, s.whole, run)
    if isinstance(s, Read):
        return (s.place, read)
    return (read, getattr(s, "attrs", ()), getattr(s, "times", 1), getattr(s, "origin", None))
