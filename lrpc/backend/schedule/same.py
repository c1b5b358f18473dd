"""Which statements do the same, whatever their values are called."""

from __future__ import annotations

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
        pairs = self._pairs(s, t)
        if pairs is None:
            return False
        there, here = dict(self.there), dict(self.here)
        for a, b in pairs:
            if there.setdefault(a, b) != b or here.setdefault(b, a) != a:
                return False
        self.there, self.here = there, here
        return True

    def _pairs(self, s: Statement, t: Statement) -> list[tuple[str, str]] | None:
        """The names that have to be of one value each."""
        if type(s) is not type(t) or plain(s) != plain(t):
            return None
        if isinstance(s, Only) and isinstance(t, Only):
            inner = [self._pairs(a, b) for a, b in zip(s.body, t.body, strict=True)]
            found = [pair for pairs in inner for pair in pairs or ()]
            return None if None in inner else found
        if isinstance(s, Free) and isinstance(t, Free):
            return list(zip(s.values, t.values, strict=True))
        values = [[x for x in (*operands(q), *results(q)) if isinstance(x, Value)] for q in (s, t)]
        pairs = [(a.name, b.name) for a, b in zip(*values, strict=True)]
        if isinstance(s, Call) and isinstance(t, Call):
            pairs += zip(s.values, t.values, strict=True)
        return pairs


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
