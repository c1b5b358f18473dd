"""What statements do, whatever their values are called, and these names."""

from __future__ import annotations

from lrpc.backend.schedule.ir import Call, Compute, Free, Load, Only, Read, Recompute, Statement
from lrpc.backend.schedule.walk import operands, results
from lrpc.ir.graph import Value


def value_names(s: Statement) -> tuple[str, ...]:
    """The names of a statement's values, in an order that those which do the same have."""
    if isinstance(s, Only):
        return tuple(name for inner in s.body for name in value_names(inner))
    if isinstance(s, Free):
        return s.values
    names = (x.name for x in (*operands(s), *results(s)) if isinstance(x, Value))
    return (*names, *(s.values if isinstance(s, Call) else ()))


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
