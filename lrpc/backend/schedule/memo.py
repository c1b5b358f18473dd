"""Remembers what passes made of bodies that they have seen."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar, TypeVarTuple

from lrpc.backend.schedule.ir import Block, Book, Call, Compute, Only, Read
from lrpc.backend.schedule.segments import Segment

Ts = TypeVarTuple("Ts")
T = TypeVar("T")


def remembered(maxsize: int = 4096) -> Callable[[Callable[[*Ts], T]], Callable[[*Ts], T]]:
    """`lru_cache` for functions of statements: planning makes many schedules, which have most of
    their blocks in common. What equality of statements leaves out counts as well: another
    model's body may be equal, but for the lines that it comes from and what its graph calls things.
    """

    def wrap(function: Callable[[*Ts], T]) -> Callable[[*Ts], T]:
        @lru_cache(maxsize=maxsize)
        def known(unsaid: object, *args: *Ts) -> T:
            return function(*args)

        @wraps(function)
        def call(*args: *Ts) -> T:
            return known(_unsaid(args), *args)

        return call

    return wrap


def _unsaid(x: object) -> object:
    """What equality of `x` leaves out."""
    if isinstance(x, (Compute, Book, Read)):
        return x.origin.source
    if isinstance(x, Call):
        return x.values
    if isinstance(x, (Block, Only)):
        return _unsaid(x.body)
    if isinstance(x, Segment):
        return _unsaid(x.steps)
    return tuple(map(_unsaid, x)) if isinstance(x, tuple) else None
