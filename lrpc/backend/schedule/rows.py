"""Rows of the ledger that book the same amount, with no other row between, become one statement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lrpc.backend.schedule.ir import Block, Book, Function, Schedule, Statement


def rows(schedule: Schedule) -> Schedule:
    """The schedule that computes the amount of such rows once, where the first of them stood.

    Rows of different blocks stay apart, so that equal blocks do the same whatever surrounds them.
    """
    targets = (target.changed(_function) for target in schedule.targets)
    return replace(schedule, targets=tuple(targets))


def _function(function: Function) -> Function:
    return replace(function, body=_merged(function.body)) if function.ledger else function


def _merged(body: Iterable[Statement]) -> tuple[Statement, ...]:
    found: list[Statement] = []
    last: int | None = None  # the place of the last row
    for s in body:
        if isinstance(s, Block):
            s, last = replace(s, body=_merged(s.body)), None
        elif isinstance(s, Book):
            row = found[last] if last is not None else None
            same = isinstance(row, Book) and _amount(row) == _amount(s) and not s.attr("rest")
            if isinstance(row, Book) and last is not None and same:
                found[last] = replace(row, times=row.times + s.times)
                continue
            last = len(found)
        found.append(s)
    return tuple(found)


def _amount(row: Book) -> tuple[object, ...]:
    """What a row books."""
    return (row.inputs, *(row.attr(key) for key in ("batch", "fold", "negative", "rest")))
