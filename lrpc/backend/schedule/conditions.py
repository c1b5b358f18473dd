"""Statements that run with a ledger alone, or without one alone, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from lrpc.backend.schedule.ir import Free, Only, Statement


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
