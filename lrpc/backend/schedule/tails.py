"""Targets share what they do alike: the end of their relevance, and long runs before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from lrpc.backend.quoting import ascii_word
from lrpc.backend.schedule.ir import (
    SAVED,
    Call,
    Function,
    Part,
    Read,
    Schedule,
    Statement,
)
from lrpc.backend.schedule.memory import written_over
from lrpc.backend.schedule.runs import Run, Runs
from lrpc.backend.schedule.same import value_names
from lrpc.backend.schedule.state import names_made
from lrpc.backend.schedule.walk import operands, renamed, results
from lrpc.backend.sources import GLOBALS
from lrpc.ir.graph import Value

FEWEST = 8  # a shorter end reads better in place
MOST_BEFORE = 2  # statements before a call that are not worth a function
FEWEST_BETWEEN = 25  # and so does a shorter run that something else follows


def tails(schedule: Schedule) -> Schedule:
    """The schedule with a function for each run of statements that several main functions of
    relevance have in common, whatever their values are called."""
    mains = {t.plain.name: t.plain for t in schedule.targets}
    found: dict[str, Function] = {}
    runs = Runs(FEWEST)
    while (run := _longest([*mains.values(), *found.values()], runs)) is not None:
        part = _part(run, f"part {len(found)}")
        called = {**schedule.by_name, **found}
        gives = written_over(part.parameters, part.body, called)
        mains = {name: _calling(f, part, gives, runs) for name, f in mains.items()}
        found = {
            part.name: part,
            **{name: _calling(f, part, gives, runs) for name, f in found.items()},
        }
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


def _longest(functions: Sequence[Function], runs: Runs) -> Run | None:
    """The longest run that two functions have in common."""
    best: Run | None = None
    for a, b in combinations(functions, 2):
        least = best.length + 1 if best is not None else FEWEST
        for run in runs.common(a, b, least):
            enough = FEWEST if run.last else FEWEST_BETWEEN
            if run.length >= enough and (best is None or run.length > best.length):
                best = run
    return best


def _live(body: Sequence[Statement]) -> list[Value]:
    """What statements read that is made before them."""
    made, found = set[str](), dict[str, Value]()
    for s in body:
        for x in operands(s):
            if isinstance(x, Value) and x.name not in made:
                found.setdefault(x.name, x)
        made |= {v.name for v in results(s)}
    return list(found.values())


def _made(run: Run) -> list[Value]:
    """What a run makes that is read after it, or a result of the function."""
    after = run.function.body[run.start + run.length :]
    read = {x.name for s in after for x in operands(s) if isinstance(x, Value)}
    read |= {v.name for v in run.function.results}
    return [v for s in run.body for v in results(s) if v.name in read]


def _part(run: Run, name: str) -> Function:
    return replace(
        run.function,
        name=name,
        parameters=tuple(_live(run.body)),
        body=run.body,
        results=tuple(_made(run)),
        half="tail" if run.last else "part",
    )


def _calling(function: Function, part: Function, gives: tuple[int, ...], runs: Runs) -> Function:
    """A function that calls the part, which writes over what is at `gives`, wherever it does the
    same."""
    length, i = len(part.body), 0
    while i + length <= len(function.body) and function.name != part.name:
        run = Run(function, i, length)
        if runs.same(part, run) and run.last == (part.half == "tail"):
            there = _there(part.body, run.body)
            made = tuple(Value(there[v.name], v.type) for v in part.results)
            if set(made) == set(_made(run)):
                call = Call(
                    *(part.name, "", Part(SAVED)),
                    tuple(Value(there[v.name], v.type) for v in part.parameters),
                    made,
                    gives=gives,
                    values=tuple(there.get(name, name) for name in names_made(part.body)),
                )
                body = (*function.body[:i], call, *function.body[i + length :])
                function = replace(function, body=body)
        i += 1
    return function


def _there(body: Sequence[Statement], other: Sequence[Statement]) -> dict[str, str]:
    """What the others, which do the same, call the values of statements."""
    both = zip(body, other, strict=True)
    return {x: y for s, t in both for x, y in zip(value_names(s), value_names(t), strict=True)}


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
