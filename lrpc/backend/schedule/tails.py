"""Targets share what they do alike: the end of their relevance, and long runs before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from lrpc.backend.quoting import ascii_word
from lrpc.backend.schedule.conditions import partly_gone
from lrpc.backend.schedule.ir import (
    RECOMPUTED,
    SAVED,
    Call,
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
from lrpc.backend.schedule.same import Same, plain
from lrpc.backend.schedule.state import names_made
from lrpc.backend.schedule.walk import frees, operands, reads, renamed, results
from lrpc.backend.sources import GLOBALS
from lrpc.ir.graph import Value

FEWEST = 8  # a shorter end reads better in place
MOST_BEFORE = 2  # statements before a call that are not worth a function
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
        """Whether it is the end of the whole calculation; a part's end is not, for its results are
        used."""
        at_end = self.start + self.length == len(self.function.body)
        return at_end and self.function.half != "part"


def tails(schedule: Schedule) -> Schedule:
    """The schedule with a function for each run of statements that several main functions of
    relevance have in common, whatever their values are called."""
    mains = {t.plain.name: t.plain for t in schedule.targets}
    found: dict[str, Function] = {}
    while (run := _longest([*mains.values(), *found.values()])) is not None:
        part = _part(run, f"part {len(found)}")
        called = {**schedule.by_name, **found}
        gives = written_over(part.parameters, part.body, called)
        mains = {name: _calling(f, part, gives) for name, f in mains.items()}
        found = {part.name: part, **{name: _calling(f, part, gives) for name, f in found.items()}}
    short = {name: f for name, f in found.items() if _passes_on(f)}
    mains = {name: _with_short(f, short) for name, f in mains.items()}
    found = {name: _with_short(f, short) for name, f in found.items() if name not in short}
    users = {t.plain.name: t.composite for t in schedule.targets}
    own = {name: _only(name, [*mains.values(), *found.values()], users) for name in found}
    names = _names(found, own, {*GLOBALS, *mains, *(f.name for f in schedule.functions)})
    parts = [replace(_calling_by(f, names), name=names[name]) for name, f in found.items()]
    targets = tuple(
        replace(t, functions=(_calling_by(mains[t.plain.name], names),)) for t in schedule.targets
    )
    return replace(schedule, targets=targets, functions=(*schedule.functions, *parts))


def _only(part: str, functions: Sequence[Function], composites: Mapping[str, str]) -> str:
    """The composite that alone uses a part, in functions that call it or call others that do; ""
    where several do. `composites` is of main functions, by name."""
    calling = {part}
    calls = [(f.name, s.function) for f in functions for s in f.body if isinstance(s, Call)]
    while found := {name for name, called in calls if called in calling} - calling:
        calling |= found
    users = {composites[name] for name in calling if name in composites}
    return users.pop() if len(users) == 1 else ""


def _names(
    parts: Mapping[str, Function], composites: Mapping[str, str], taken: set[str]
) -> dict[str, str]:
    """What parts are called: from where they go, and to where if not to the end; and the composite
    that alone uses one."""
    found: dict[str, str] = {}
    for part, function in parts.items():
        places = [*map(ascii_word, _places(function, parts))] or ["there"]
        name = f"relevance_from_{places[0]}"
        if function.half == "part" and places[1:]:
            name += f"_to_{places[-1]}"
        if composites[part]:
            name += f"_{ascii_word(composites[part])}"
        while name in taken:
            name += "_"
        taken.add(name)
        found[part] = name
    return found


def _places(function: Function, parts: Mapping[str, Function]) -> Iterator[str]:
    """The places that a part hands relevance out at, in those that it calls as well."""
    for s in function.body:
        if isinstance(s, Read):
            yield s.place
        elif isinstance(s, Call) and s.function in parts:
            yield from _places(parts[s.function], parts)


def _calling_by(function: Function, names: Mapping[str, str]) -> Function:
    """A function that calls others by these names."""
    body = (
        replace(s, function=names.get(s.function, s.function)) if isinstance(s, Call) else s
        for s in function.body
    )
    return replace(function, body=tuple(body))


def _longest(functions: Sequence[Function]) -> _Run | None:
    """The longest run that two functions have in common."""
    numbers: dict[object, int] = {}
    keys = [[numbers.setdefault(plain(s), len(numbers)) for s in f.body] for f in functions]
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
            if alike[i][j] < least or i < done.get(i - j, 0) or frees(a.body[i]):
                continue
            length = _fitting(a, i, b, j, _same_length(a, i, b, j, alike[i][j]), least)
            if length:
                done[i - j] = i + length
                yield _Run(a, i, length)


def _same_length(a: Function, i: int, b: Function, j: int, most: int) -> int:
    """How many statements are the same from two places on, of `most` that are but for names."""
    same = Same()
    for length, (s, t) in enumerate(zip(a.body[i:], b.body[j : j + most], strict=False)):
        if not same.names(s, t):
            return length
    return most


def _fitting(a: Function, i: int, b: Function, j: int, length: int, least: int) -> int:
    """How many of them can be a function of their own; 0 for fewer than `least`."""
    length = min(_reach(_Run(a, i, length)), _reach(_Run(b, j, length)))
    while length >= least and not (_whole(_Run(a, i, length)) and _whole(_Run(b, j, length))):
        length -= 1
    alike = _Run(a, i, length).last == _Run(b, j, length).last
    return length if length >= least and alike else 0


def _reach(run: _Run) -> int:
    """How many statements of a run use nothing from before it that a function cannot be handed:
    what there is in one kind of call alone, parts that are computed again."""
    partly = _partly(run.function) | partly_gone(run.function.body[: run.start])
    made = set[object]()
    for place, s in enumerate(run.body):
        parts = {x.entry.part for x in operands(s) if isinstance(x, Load)}
        parts |= {s.part} if isinstance(s, Call) else set()
        again = {part for part in parts if part.kind == RECOMPUTED}
        if not again <= made or any(name in partly and name not in made for name in reads(s)):
            return place
        made |= {v.name for v in results(s)}
        made |= {Part(RECOMPUTED, s.scope)} if isinstance(s, Recompute) else set()
    return run.length


def _partly(function: Function) -> set[str]:
    """What is made under a condition."""
    return {v.name for s in function.body if isinstance(s, Only) for v in results(s)}


def _whole(run: _Run) -> bool:
    """Whether a run uses and makes nothing but values that are there with a ledger and without, and
    freed in both or in neither; makes what it computes again of the state itself, and frees it."""
    function, body = run.function, run.body
    if run.length == len(function.body):
        return False
    partly = _partly(function) | partly_gone(function.body[: run.start]) | partly_gone(body)
    crossing = {v.name for v in (*_live(body), *_made(run))}
    made = {s.scope for s in body if isinstance(s, Recompute)}
    parts = (x.entry.part for s in body for x in operands(s) if isinstance(x, Load))
    used = {part.scope for part in parts if part.kind == RECOMPUTED}
    used |= {s.part.scope for s in body if isinstance(s, Call) and s.part.kind == RECOMPUTED}
    freed = {scope for s in body if isinstance(s, Free) for scope in s.parts}
    freeing = any(frees(s) for s in (body[0], *function.body[run.start + run.length :][:1]))
    return not freeing and used <= made and freed == made and not partly & crossing


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
    """What a run makes that is read after it, or a result of the function."""
    after = run.function.body[run.start + run.length :]
    read = {x.name for s in after for x in operands(s) if isinstance(x, Value)}
    read |= {v.name for v in run.function.results}
    return [v for s in run.body for v in results(s) if v.name in read]


def _part(run: _Run, name: str) -> Function:
    return replace(
        run.function,
        name=name,
        parameters=tuple(_live(run.body)),
        body=run.body,
        results=tuple(_made(run)),
        half="tail" if run.last else "part",
    )


def _calling(function: Function, part: Function, gives: tuple[int, ...]) -> Function:
    """A function that calls the part, which writes over what is at `gives`, wherever it does the
    same."""
    length, i = len(part.body), 0
    while i + length <= len(function.body) and function.name != part.name:
        run, same = _Run(function, i, length), Same()
        alike = all(map(same.statements, part.body, run.body))
        if alike and run.last == (part.half == "tail") and _whole(run):
            made = tuple(Value(same.there[v.name], v.type) for v in part.results)
            if set(made) == set(_made(run)):
                call = Call(
                    *(part.name, "", Part(SAVED)),
                    tuple(Value(same.there[v.name], v.type) for v in part.parameters),
                    made,
                    gives=gives,
                    values=tuple(same.there.get(name, name) for name in names_made(part.body)),
                )
                body = (*function.body[:i], call, *function.body[i + length :])
                function = replace(function, body=body)
        i += 1
    return function


def _passes_on(function: Function) -> bool:
    """Whether a shared end does next to nothing but call another."""
    short = len(function.body) <= MOST_BEFORE + 1 and isinstance(function.body[-1], Call)
    return short and function.half == "tail"


def _with_short(function: Function, short: Mapping[str, Function]) -> Function:
    """A function with the statements of such ends in place of calls."""
    while isinstance(call := function.body[-1], Call) and call.function in short:
        part = short[call.function]
        given = (x.name for x in call.arguments if isinstance(x, Value))
        names = dict(zip((v.name for v in part.parameters), given, strict=True))
        names |= dict(zip(names_made(part.body), call.values, strict=True))
        own = renamed(part, names).body
        function = replace(function, body=(*function.body[:-1], *own))
    return function
