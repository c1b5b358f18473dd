"""Helps passes to go through a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from lrpc.backend.schedule.ir import (
    STEPS,
    Block,
    Call,
    Compute,
    Free,
    Function,
    Load,
    Only,
    Operand,
    Recompute,
    Save,
    Schedule,
    Statement,
    Step,
)
from lrpc.ir.graph import Value


def operands(statement: Statement) -> tuple[Operand, ...]:
    """What a statement reads, in order."""
    if type(statement) is Compute:  # most are
        return statement.inputs
    if isinstance(statement, STEPS):
        return statement.inputs
    if isinstance(statement, (Block, Call)):
        return statement.arguments
    if isinstance(statement, Recompute):
        return operands(statement.run) if statement.run is not None else ()
    if isinstance(statement, Only):
        made = {v.name for v in results(statement)}
        read = (x for s in statement.body for x in operands(s))
        return tuple(x for x in read if isinstance(x, Load) or x.name not in made)
    return (statement.value,) if isinstance(statement, Save) else ()


def results(statement: Statement) -> tuple[Value, ...]:
    """What a statement makes."""
    if type(statement) is Compute:
        return statement.outputs
    if isinstance(statement, STEPS):
        return statement.outputs
    if isinstance(statement, Only):
        return tuple(v for s in statement.body for v in results(s))
    return statement.results if isinstance(statement, (Block, Call)) else ()


def reads(statement: Statement) -> set[str]:
    """The names of the values that a statement reads."""
    return {x.name for x in operands(statement) if isinstance(x, Value)}


def frees(statement: Statement) -> bool:
    """Whether a statement does nothing but free."""
    inside = statement.body if isinstance(statement, Only) else (statement,)
    return all(isinstance(s, Free) for s in inside)


def unconditional(body: Iterable[Statement]) -> Iterator[Statement]:
    """All statements of a body, those under a condition after the condition itself."""
    for s in body:
        yield s
        if isinstance(s, Only):
            yield from unconditional(s.body)


def changed(
    body: Iterable[Statement], change: Callable[[Statement], Statement]
) -> tuple[Statement, ...]:
    """Statements changed one by one, those under conditions in their places."""
    return tuple(
        replace(s, body=changed(s.body, change)) if isinstance(s, Only) else change(s) for s in body
    )


def with_mains(schedule: Schedule, change: Callable[[Function], Function]) -> Schedule:
    """The schedule with its main functions changed."""
    targets = (target.changed(change) for target in schedule.targets)
    sizes = None if schedule.sizes is None else change(schedule.sizes)
    forward = change(schedule.forward)
    return replace(schedule, sizes=sizes, forward=forward, targets=tuple(targets))


def with_blocks(schedule: Schedule, change: Callable[[Block], Block]) -> Schedule:
    """The schedule with its blocks changed, those that are computed again as well."""

    def statement(s: Statement) -> Statement:
        if isinstance(s, Recompute) and isinstance(s.run, Block):
            return replace(s, run=change(s.run))
        return change(s) if isinstance(s, Block) else s

    return with_mains(schedule, lambda f: replace(f, body=changed(f.body, statement)))


def renamed(function: Function, names: Mapping[str, str]) -> Function:
    """The function with other names for its values, in its blocks as well. Steps without any of
    them stay the same objects, which passes that remember bodies compare at once."""

    def value(v: Value) -> Value:
        return Value(names[v.name], v.type) if v.name in names else v

    def operand(x: Operand) -> Operand:
        return x if isinstance(x, Load) else value(x)

    def statement(s: Statement) -> Statement:
        if isinstance(s, STEPS):
            if not any(x.name in names for x in (*s.inputs, *s.outputs) if isinstance(x, Value)):
                return s
            inputs = tuple(map(operand, s.inputs))
            if isinstance(s, Compute):
                return replace(s, inputs=inputs, outputs=tuple(map(value, s.outputs)))
            return replace(s, inputs=inputs)
        if isinstance(s, Block):
            return replace(
                s,
                arguments=tuple(map(operand, s.arguments)),
                parameters=tuple(map(value, s.parameters)),
                body=tuple(map(statement, s.body)),
                results=tuple(map(value, s.results)),
            )
        if isinstance(s, Call):
            return replace(
                s,
                arguments=tuple(map(operand, s.arguments)),
                results=tuple(map(value, s.results)),
                values=tuple(names.get(name, name) for name in s.values),
            )
        if isinstance(s, Free):
            return replace(s, values=tuple(names.get(name, name) for name in s.values))
        if isinstance(s, Save):
            return replace(s, value=value(s.value))
        if isinstance(s, Only):
            return replace(s, body=tuple(map(statement, s.body)))
        return s

    return replace(
        function,
        parameters=tuple(map(value, function.parameters)),
        body=tuple(map(statement, function.body)),
        results=tuple(map(value, function.results)),
    )


def loaded(s: Step, found: Mapping[Operand, Operand]) -> Step:
    """A step that reads what lies in the state as `found` has it."""
    if not any(isinstance(x, Load) for x in s.inputs):
        return s
    return replace(s, inputs=tuple(found[x] if isinstance(x, Load) else x for x in s.inputs))


def handed_over(function: Function) -> tuple[int, ...]:
    """The arguments that a part of a main function has for good: those that it frees; of an end,
    all."""
    steps = unconditional(function.body)
    freed = {name for s in steps if isinstance(s, Free) for name in s.values}
    end = function.half == "tail"
    return tuple(i for i, v in enumerate(function.parameters) if end or v.name in freed)
