"""Targets share the end of their relevance: what they all do from some place on is one function."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from lrpc.backend.quoting import ascii_word
from lrpc.backend.schedule.ir import (
    AGAIN,
    SAVED,
    STEPS,
    Call,
    Compute,
    Free,
    Function,
    Load,
    Only,
    Part,
    Read,
    Recompute,
    Schedule,
    Statement,
)
from lrpc.backend.schedule.memory import written_over
from lrpc.backend.schedule.state import names_made
from lrpc.backend.schedule.walk import operands, results, unconditional
from lrpc.backend.sources import GLOBALS
from lrpc.ir.graph import Value

FEWEST = 8  # a shorter end reads better in place


def tails(schedule: Schedule) -> Schedule:
    """The schedule with a function for each end that several main functions of relevance have in
    common, whatever their values are called. What it takes it has for good."""
    mains = {t.plain.name: t.plain for t in schedule.targets}
    taken = {*GLOBALS, *mains, *(f.name for f in schedule.functions)}
    found: dict[str, Function] = {}
    while (longest := _longest([*mains.values(), *found.values()])) is not None:
        function, start = longest
        tail = _tail(function, start, taken)
        taken.add(tail.name)
        mains = {name: _calling(f, tail) for name, f in mains.items()}
        found = {tail.name: tail, **{name: _calling(f, tail) for name, f in found.items()}}
    targets = (replace(t, functions=(mains[t.plain.name],)) for t in schedule.targets)
    return replace(
        schedule, targets=tuple(targets), functions=(*schedule.functions, *found.values())
    )


def _longest(functions: Sequence[Function]) -> tuple[Function, int] | None:
    """The longest end that two functions have in common: one of them, and where it begins."""
    best: tuple[Function, int] | None = None
    most = FEWEST - 1
    for a, b in combinations(functions, 2):
        length = _common(a, b)
        if length > most:
            most, best = length, (a, len(a.body) - length)
    return best


def _common(a: Function, b: Function) -> int:
    """How many of their last statements are the same, and can be a function of their own."""
    same, length = _Same(), 0
    for s, t in zip(reversed(a.body), reversed(b.body), strict=False):
        if not same.statements(s, t):
            break
        length += 1
    while length and not (_whole(a, length) and _whole(b, length)):
        length -= 1
    return length


def _whole(function: Function, length: int) -> bool:
    """Whether these last statements use nothing but values that are there with a ledger and
    without, and make what they compute again of the state themselves."""
    before, end = function.body[: -length or None], function.body[len(function.body) - length :]
    if length == len(function.body):
        return False
    partly = {v.name for s in before if isinstance(s, Only) for v in results(s)}
    made = {s.scope for s in end if isinstance(s, Recompute)}
    parts = (x.entry.part for s in end for x in operands(s) if isinstance(x, Load))
    used = {part.scope for part in parts if part.kind == AGAIN}
    used |= {s.part.scope for s in end if isinstance(s, Call) and s.part.kind == AGAIN}
    used |= {scope for s in end if isinstance(s, Free) for scope in s.parts}
    first = end[0]
    frees = isinstance(first, (Free, Only)) and not any(
        isinstance(s, STEPS) for s in unconditional([first])
    )
    return not frees and used <= made and not partly & {v.name for v in _live(end)}


def _live(body: Sequence[Statement]) -> list[Value]:
    """What statements read that is made before them."""
    made, found = set[str](), dict[str, Value]()
    for s in body:
        for x in operands(s):
            if isinstance(x, Value) and x.name not in made:
                found.setdefault(x.name, x)
        made |= {v.name for v in results(s)}
    return list(found.values())


def _tail(function: Function, start: int, taken: Collection[str]) -> Function:
    body = function.body[start:]
    places = (ascii_word(s.place) for s in body if isinstance(s, Read))
    name = f"relevance_from_{next(places, 'there')}"
    while name in taken:
        name += "_"
    return replace(function, name=name, parameters=tuple(_live(body)), body=body, half="tail")


def _calling(function: Function, tail: Function) -> Function:
    """A function that calls the tail where it ends like it."""
    length = len(tail.body)
    if len(function.body) <= length or function.name == tail.name:
        return function
    same = _Same()
    pairs = zip(reversed(tail.body), reversed(function.body), strict=False)
    if not all(same.statements(s, t) for s, t in pairs):
        return function
    before = function.body[: len(function.body) - length]
    given = tuple(Value(same.there[v.name], v.type) for v in tail.parameters)
    call = Call(
        *(tail.name, "", Part(SAVED), given),
        gives=written_over(tail.parameters, tail.body),
        values=tuple(same.there.get(name, name) for name in names_made(tail.body)),
    )
    return replace(function, body=(*before, call))


@dataclass
class _Same:
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
        if type(s) is not type(t) or _plain(s) != _plain(t):
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


def _plain(s: Statement) -> object:
    """A statement without the names of its values."""
    read = tuple(x if isinstance(x, Load) else x.type for x in operands(s))
    made = tuple(v.type for v in results(s))
    if isinstance(s, Only):
        return (s.ledger, tuple(map(_plain, s.body)))
    if isinstance(s, Free):
        return (len(s.values), s.parts)
    if isinstance(s, Call):
        return (s.function, s.prefix, s.part, read, made, s.over, s.gives)
    if isinstance(s, Compute):
        return (s.op, read, made, s.attrs, s.origin, s.over, s.keeps)
    if isinstance(s, Recompute):
        run = _plain(s.run) if s.run is not None else None
        return (s.scope, s.whole, run)
    if isinstance(s, Read):
        return (s.place, read)
    return (read, getattr(s, "attrs", ()), getattr(s, "times", 1), getattr(s, "origin", None))
