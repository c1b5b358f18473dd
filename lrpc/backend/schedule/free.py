"""Values, and parts of the state that were computed again, are freed right after their last use."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from lrpc.backend.schedule.ir import (
    RECOMPUTED,
    Block,
    Book,
    Compute,
    Free,
    Load,
    Only,
    Recompute,
    Save,
    Schedule,
    Statement,
)
from lrpc.backend.schedule.memo import remembered
from lrpc.backend.schedule.walk import operands, results, with_blocks, with_mains
from lrpc.ir.graph import Value

Name = tuple[str, bool]  # of a value, or of a part that was computed again


def free(schedule: Schedule) -> Schedule:
    """Every value is freed after its last use, unless it is returned; calls with a ledger and calls
    without one each do it as early as they can. What runs under one condition stands together."""
    schedule = with_blocks(schedule, _block)
    return with_mains(schedule, lambda f: replace(f, body=_freed(f.body, f.results, f.parameters)))


def _block(block: Block) -> Block:
    """A block, which frees what it was handed only where relevance goes on under its name: its
    caller holds it all the same."""
    kept = (*block.results, *(v for v in block.parameters if not v.type.seeded))
    return replace(block, body=_body(block.body, kept, block.parameters))


@remembered()
def _body(
    body: tuple[Statement, ...], results: tuple[Value, ...], parameters: tuple[Value, ...]
) -> tuple[Statement, ...]:
    return _freed(body, results, parameters)


def _freed(
    body: Sequence[Statement], kept: Iterable[Value], given: Iterable[Value]
) -> tuple[Statement, ...]:
    last = [_last_uses(body, ledger) for ledger in (False, True)]
    kept_names = {(v.name, False) for v in kept}
    at: dict[int, list[tuple[bool | None, Name]]] = {}
    for name in dict.fromkeys([*last[1], *last[0]]):
        if name not in kept_names:
            for place, when in _ends(body, *(uses.get(name) for uses in last)):
                at.setdefault(_behind_saves(body, place), []).append((when, name))
    found: list[Statement] = []
    for i, s in enumerate(body):
        found.append(s)
        for when in (None, False, True):
            names = [name for condition, name in at.get(i, ()) if condition is when]
            if names:
                values = tuple(name for name, part in names if not part)
                dropped = Free(values, tuple(name for name, part in names if part))
                found.append(dropped if when is None else Only(when, (dropped,)))
    return tuple(_together(found, given))


def _last_uses(body: Sequence[Statement], ledger: bool) -> dict[Name, int]:
    """Where each value is made or read last, in calls with a ledger or in those without."""
    found: dict[Name, int] = {}
    for i, s in enumerate(body):
        if not (isinstance(s, Only) and s.ledger != ledger):
            found.update((name, i) for name in _used(s))
    return found


def _used(s: Statement) -> Iterator[Name]:
    """What a statement makes or reads."""
    read = operands(s)
    for x in (*read, *results(s)):
        if isinstance(x, Value):
            yield x.name, False
    parts = [x.entry.part for x in read if isinstance(x, Load)]
    for inner in s.body if isinstance(s, Only) else (s,):
        if isinstance(inner, Recompute):
            yield inner.scope, True
        elif isinstance(inner, Block):
            parts.append(inner.part)
        elif isinstance(inner, Compute) and inner.keeps is not None:
            parts.append(inner.keeps.part)
    yield from ((part.scope, True) for part in parts if part.kind == RECOMPUTED)


def _ends(
    body: Sequence[Statement], plain: int | None, booked: int | None
) -> list[tuple[int, bool | None]]:
    """Where something is freed, in which calls, that calls without and with a ledger use last at
    these places: once for both where only one of them does something between."""
    if plain is None or booked is None:
        return [(booked, True)] if booked is not None else [(plain or 0, False)]
    first, end = sorted((plain, booked))
    between = body[first + 1 : end + 1]
    if all(isinstance(s, Only) and s.ledger == (booked == end) for s in between):
        return [(end, None)]
    return [(plain, False), (booked, True)]


def _behind_saves(body: Sequence[Statement], place: int) -> int:
    while place + 1 < len(body) and isinstance(body[place + 1], Save):
        place += 1
    return place


def _together(body: Iterable[Statement], given: Iterable[Value]) -> Iterator[Statement]:
    """Statements of which those under one condition stand together. Rows of what is there anyway
    need none."""
    there, run = {(v.name, False) for v in given}, list[Only]()
    for s in body:
        if isinstance(s, Only):
            run.append(s)
            continue
        yield from _conditions(run, there)
        run = []
        yield s
        _note(s, there)
    yield from _conditions(run, there)


def _note(s: Statement, there: set[Name]) -> None:
    """What is there after a statement has run."""
    there |= {(v.name, False) for v in results(s)}
    if isinstance(s, Recompute):
        there.add((s.scope, True))
    elif isinstance(s, Free):
        there -= {(name, False) for name in s.values} | {(part, True) for part in s.parts}


def _conditions(run: Sequence[Only], there: set[Name]) -> Iterator[Statement]:
    """A run of statements under conditions; those without a ledger change what is `there`."""
    plain = [s for only in run if not only.ledger for s in only.body]
    booked = [s for only in run if only.ledger for s in only.body]
    rows = 0
    while rows < len(booked) and _is_row(booked[rows], there):
        rows += 1
    yield from booked[:rows]
    booked = booked[rows:]
    for s in plain:
        _note(s, there)
    yield from [Only(False, tuple(plain))] if plain else []
    alone = {name for s in booked for name in _made(s)} - {name for s in plain for name in _made(s)}
    before = there - alone
    later = len(booked)
    while later and _is_row(booked[later - 1], before):
        later -= 1
    made = booked[:later]
    yield from [Only(True, tuple(made))] if made else []
    yield from booked[later:]


def _made(s: Statement) -> Iterator[Name]:
    yield from ((v.name, False) for v in results(s))
    if isinstance(s, Recompute):
        yield s.scope, True


def _is_row(s: Statement, there: Collection[Name]) -> bool:
    """A row of the ledger of what is there."""
    return isinstance(s, Book) and all(name in there for name in _used(s))
