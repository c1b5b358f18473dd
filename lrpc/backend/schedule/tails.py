"""Targets share what they do alike: the end of their relevance, and long runs before it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from lrpc.backend.quoting import ascii_word
from lrpc.backend.schedule.conditions import partly_gone
from lrpc.backend.schedule.ir import (
    AGAIN,
    SAVED,
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
FEWEST_BETWEEN = 25  # and so does a shorter run that something else follows


@dataclass(frozen=True)
class _Run:
    """Consecutive statements of a function: from `start` on, so many."""

    function: Function
    start: int
    length: int

    @property
    def body(self) -> tuple[Statement, ...]:
        return self.function.body[self.start : self.start + self.length]

    @property
    def last(self) -> bool:
        """Whether it is the end of the function."""
        return self.start + self.length == len(self.function.body)


def tails(schedule: Schedule) -> Schedule:
    """The schedule with a function for each run of statements that several main functions of
    relevance have in common, whatever their values are called."""
    mains = {t.plain.name: t.plain for t in schedule.targets}
    taken = {*GLOBALS, *mains, *(f.name for f in schedule.functions)}
    found: dict[str, Function] = {}
    while (run := _longest([*mains.values(), *found.values()])) is not None:
        part = _part(run, taken)
        taken.add(part.name)
        mains = {name: _calling(f, part) for name, f in mains.items()}
        found = {part.name: part, **{name: _calling(f, part) for name, f in found.items()}}
    targets = (replace(t, functions=(mains[t.plain.name],)) for t in schedule.targets)
    return replace(
        schedule, targets=tuple(targets), functions=(*schedule.functions, *found.values())
    )


def _longest(functions: Sequence[Function]) -> _Run | None:
    """The longest run that two functions have in common."""
    numbers: dict[object, int] = {}
    keys = [[numbers.setdefault(_plain(s), len(numbers)) for s in f.body] for f in functions]
    best: _Run | None = None
    for (a, k), (b, m) in combinations(zip(functions, keys, strict=True), 2):
        least = best.length + 1 if best is not None else FEWEST
        for run in _common(a, k, b, m, least):
            enough = FEWEST if run.last else FEWEST_BETWEEN
            if run.length >= enough and (best is None or run.length > best.length):
                best = run
    return best


def _common(
    a: Function, k: Sequence[int], b: Function, m: Sequence[int], least: int
) -> Iterator[_Run]:
    """Runs of the first function, of this length at least, that are in the second one as well and
    can be a function of their own; `k` and `m` have a number for what each statement does."""
    alike = [[0] * (len(m) + 1) for _ in range(len(k) + 1)]
    for i in range(len(k) - 1, -1, -1):
        for j in range(len(m) - 1, -1, -1):
            alike[i][j] = alike[i + 1][j + 1] + 1 if k[i] == m[j] else 0
    done: dict[int, int] = {}  # by how far apart the places are: up to where runs are known
    for i in range(len(k)):
        for j in range(len(m)):
            if alike[i][j] < least or i < done.get(i - j, 0) or _frees(a.body[i]):
                continue
            length = _same_length(a, i, b, j)
            done[i - j] = i + length
            length = _fitting(a, i, b, j, length)
            if length >= least:
                yield _Run(a, i, length)


def _same_length(a: Function, i: int, b: Function, j: int) -> int:
    """How many statements are the same from two places on."""
    same, length = _Same(), 0
    for s, t in zip(a.body[i:], b.body[j:], strict=False):
        if not same.statements(s, t):
            break
        length += 1
    return length


def _fitting(a: Function, i: int, b: Function, j: int, length: int) -> int:
    """How many of them can be a function of their own."""
    while length and not (_whole(_Run(a, i, length)) and _whole(_Run(b, j, length))):
        length -= 1
    last = [i + length == len(a.body), j + length == len(b.body)]
    return length if last[0] == last[1] else 0


def _whole(run: _Run) -> bool:
    """Whether a run uses and makes nothing but values that are there with a ledger and without, and
    freed in both or in neither; makes what it computes again of the state itself, and frees it."""
    function, body = run.function, run.body
    if run.length == len(function.body):
        return False
    partly = {v.name for s in function.body if isinstance(s, Only) for v in results(s)}
    partly |= partly_gone(function.body[: run.start]) | partly_gone(body)
    crossing = {v.name for v in (*_live(body), *_made(run))}
    made = {s.scope for s in body if isinstance(s, Recompute)}
    parts = (x.entry.part for s in body for x in operands(s) if isinstance(x, Load))
    used = {part.scope for part in parts if part.kind == AGAIN}
    used |= {s.part.scope for s in body if isinstance(s, Call) and s.part.kind == AGAIN}
    freed = {scope for s in body if isinstance(s, Free) for scope in s.parts}
    frees = any(_frees(s) for s in (body[0], *function.body[run.start + run.length :][:1]))
    return not frees and used <= made and freed == made and not partly & crossing


def _frees(s: Statement) -> bool:
    """Whether a statement does nothing but free."""
    inside = s.body if isinstance(s, Only) else (s,)
    return all(isinstance(x, Free) for x in inside)


def _live(body: Sequence[Statement]) -> list[Value]:
    """What statements read that is made before them."""
    made, found = set[str](), dict[str, Value]()
    for s in body:
        for x in operands(s):
            if isinstance(x, Value) and x.name not in made:
                found.setdefault(x.name, x)
        made |= {v.name for v in results(s)}
    return list(found.values())


def _made(run: _Run) -> list[Value]:
    """What a run makes that is read after it."""
    after = run.function.body[run.start + run.length :]
    read = {x.name for s in after for x in operands(s) if isinstance(x, Value)}
    return [v for s in run.body for v in results(s) if v.name in read]


def _freed(body: Sequence[Statement]) -> set[str]:
    """The names that statements free."""
    return {n for s in unconditional(body) if isinstance(s, Free) for n in s.values}


def _part(run: _Run, taken: Collection[str]) -> Function:
    places = (ascii_word(s.place) for s in run.body if isinstance(s, Read))
    name = f"relevance_from_{next(places, 'there')}"
    while name in taken:
        name += "_"
    return replace(
        run.function,
        name=name,
        parameters=tuple(_live(run.body)),
        body=run.body,
        results=tuple(_made(run)),
        half="tail" if run.last else "part",
    )


def _calling(function: Function, part: Function) -> Function:
    """A function that calls the part wherever it does the same."""
    length, i = len(part.body), 0
    while i + length <= len(function.body) and function.name != part.name:
        run, same = _Run(function, i, length), _Same()
        alike = all(map(same.statements, part.body, run.body))
        if alike and run.last == (part.half == "tail") and _whole(run):
            made = tuple(Value(same.there[v.name], v.type) for v in part.results)
            if set(made) == set(_made(run)):
                call = Call(
                    *(part.name, "", Part(SAVED)),
                    tuple(Value(same.there[v.name], v.type) for v in part.parameters),
                    made,
                    gives=written_over(part.parameters, part.body),
                    values=tuple(same.there.get(name, name) for name in names_made(part.body)),
                )
                body = (*function.body[:i], call, *function.body[i + length :])
                function = replace(function, body=body)
        i += 1
    return function


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
