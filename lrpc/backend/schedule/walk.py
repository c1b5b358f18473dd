"""Helps passes to go through a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from lrpc.backend.schedule.ir import (
    STEPS,
    Block,
    Call,
    Function,
    Operand,
    Recompute,
    Save,
    Schedule,
    Statement,
)
from lrpc.ir.graph import Value


def operands(statement: Statement) -> tuple[Operand, ...]:
    """What a statement reads, in order."""
    if isinstance(statement, STEPS):
        return statement.inputs
    if isinstance(statement, (Block, Call)):
        return statement.arguments
    if isinstance(statement, Recompute):
        return operands(statement.run) if statement.run is not None else ()
    return (statement.value,) if isinstance(statement, Save) else ()


def results(statement: Statement) -> tuple[Value, ...]:
    """What a statement makes."""
    if isinstance(statement, STEPS):
        return statement.outputs
    return statement.results if isinstance(statement, (Block, Call)) else ()


def reads(statement: Statement) -> set[str]:
    """The names of the values that a statement reads."""
    return {x.name for x in operands(statement) if isinstance(x, Value)}


def with_mains(schedule: Schedule, change: Callable[[Function], Function]) -> Schedule:
    """The schedule with its main functions changed."""
    targets = (replace(t, plain=change(t.plain), booked=change(t.booked)) for t in schedule.targets)
    return replace(schedule, forward=change(schedule.forward), targets=tuple(targets))


def with_blocks(schedule: Schedule, change: Callable[[Block], Block]) -> Schedule:
    """The schedule with its blocks changed, those that are computed again as well."""

    def inside(body: Iterable[Statement]) -> tuple[Statement, ...]:
        return tuple(map(changed, body))

    def changed(s: Statement) -> Statement:
        if isinstance(s, Recompute) and isinstance(s.run, Block):
            return replace(s, run=change(s.run))
        return change(s) if isinstance(s, Block) else s

    return with_mains(schedule, lambda f: replace(f, body=inside(f.body)))
