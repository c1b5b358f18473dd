"""Statements that run with a ledger alone, or without one alone, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from lrpc.backend.schedule.ir import Free, Only, Recompute, Statement
from lrpc.backend.schedule.walk import results


def merged(body: Iterable[Statement]) -> Iterator[Statement]:
    """Statements of which those under one condition stand together, with what is freed between."""
    plain: list[Statement] = []
    booked: list[Statement] = []
    waiting: list[Free] = []  # behind what runs with a ledger
    for s in body:
        if isinstance(s, Free) and booked:
            waiting.append(s)
            continue
        if isinstance(s, Only):
            if waiting and s.ledger:
                plain += waiting
                booked += waiting
                waiting = []
            if not waiting:
                (booked if s.ledger else plain).extend(s.body)
                continue
        yield from conditions(plain, booked)
        yield from waiting
        plain, booked, waiting = [], [], []
        if isinstance(s, Only):
            (booked if s.ledger else plain).extend(s.body)
        else:
            yield s
    yield from conditions(plain, booked)
    yield from waiting


def conditions(plain: Sequence[Statement], booked: Sequence[Statement]) -> Iterator[Only]:
    """Statements under both conditions."""
    if plain:
        yield Only(False, tuple(plain))
    if booked:
        yield Only(True, tuple(booked))


def apart(body: Iterable[Statement], key: Callable[[Statement], object]) -> Iterator[Statement]:
    """Statements under conditions, those of each application apart, and what is freed before."""
    for s in body:
        if not isinstance(s, Only):
            yield s
            continue
        run: list[Statement] = []
        for inner in s.body:
            first = next((x for x in run if not isinstance(x, Free)), None)
            if run and not isinstance(inner, Free) and (not first or key(inner) != key(first)):
                yield Only(s.ledger, tuple(run))
                run = []
            run.append(inner)
        yield Only(s.ledger, tuple(run))


def without(s: Statement, hidden: set[str]) -> Statement | None:
    """A statement that frees nothing that is hidden."""
    if isinstance(s, Only):
        body = [x for x in (without(x, hidden) for x in s.body) if x is not None]
        return Only(s.ledger, tuple(body)) if body else None
    if isinstance(s, Free) and hidden & {*s.values}:
        names = tuple(name for name in s.values if name not in hidden)
        return Free(names, s.parts) if names or s.parts else None
    return s


def partly_made(run: Iterable[Statement]) -> set[str]:
    """What statements make with a ledger alone, or without one alone: values, and parts in
    quotes."""
    made: list[set[str]] = [set(), set()]
    for s in run:
        names = {v.name for v in results(s)}
        inside = s.body if isinstance(s, Only) else (s,)
        names |= {quoted(x.scope) for x in inside if isinstance(x, Recompute)}
        for ledger, found in enumerate(made):
            found |= names if not isinstance(s, Only) or s.ledger == ledger else set()
    return made[0] ^ made[1]


def partly_gone(run: Iterable[Statement]) -> set[str]:
    """What statements free with a ledger alone, or without one alone: values, and parts in
    quotes."""
    gone: list[set[str]] = [set(), set()]
    for s in run:
        for x in s.body if isinstance(s, Only) else (s,):
            if isinstance(x, Free):
                names = {*x.values, *map(quoted, x.parts)}
                for ledger, found in enumerate(gone):
                    found |= names if not isinstance(s, Only) or s.ledger == ledger else set()
    return gone[0] ^ gone[1]


def quoted(part: str) -> str:
    """A part of the state among names of values."""
    return f'"{part}"'
