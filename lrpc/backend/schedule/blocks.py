"""Groups the statements of each block of the model, and gives every block a part of the state."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace

from lrpc.backend.schedule.ir import (
    OWN,
    SAVED,
    Block,
    Entry,
    Function,
    Load,
    Operand,
    Part,
    Save,
    Schedule,
    Statement,
    Target,
)
from lrpc.backend.schedule.memo import remembered
from lrpc.backend.schedule.segments import Segment, cut
from lrpc.backend.schedule.state import Places, entries, placed, saving, steps_of
from lrpc.backend.schedule.walk import loaded
from lrpc.ir.graph import Value


def blocks(schedule: Schedule, chosen: Container[str] = ()) -> Schedule:
    """Consecutive statements of one block of the model become a Block each; so do repeated glue of
    the forward pass and the `chosen` segments of it. What a block saves lies in its own part of the
    state, under the name that it has in the block."""
    forward, targets = schedule.forward, schedule.targets
    segments = cut(steps_of(forward.body), repeats=True, chosen=chosen)
    scopes = {"", *(s.key for s in segments)}
    body: list[Statement] = []
    for segment, later in _with_later(segments, forward.results):
        body += [_block(segment, segment.key, later, ())] if segment.key else segment.steps
    places = entries(forward.parameters, body)
    saved = {s.value.name for s in forward.body if isinstance(s, Save)}
    body = placed(body, places)
    body = saving(forward.parameters, body, {n: places[n] for n in saved})
    found = tuple(_target(target, places, scopes) for target in targets)
    return replace(schedule, forward=replace(forward, body=tuple(body)), targets=found)


def _target(target: Target, places: Places, scopes: Container[str]) -> Target:
    found = target.changed(lambda f: _relevance(f, places, scopes))
    return replace(found, start=places[target.start.name])


def _relevance(function: Function, places: Places, scopes: Container[str]) -> Function:
    body: list[Statement] = []
    for segment, later in _relevance_segments(function.body):
        if segment.key:
            scope = next((k for k in (segment.key, segment.block) if k in scopes), "")
            names = (x.entry.name for x in segment.reads if isinstance(x, Load))
            own = ((n, places[n].name) for n in names if places[n].part.scope == scope != "")
            body.append(_block(segment, scope, later, tuple(own)))
        else:
            body += segment.steps
    return replace(function, body=tuple(placed(body, places)))


@remembered(64)
def _relevance_segments(body: tuple[Statement, ...]) -> tuple[tuple[Segment, frozenset[str]], ...]:
    return tuple(_with_later(cut(steps_of(body)), ()))


@remembered()
def _block(
    segment: Segment, scope: str, later: frozenset[str], own: tuple[tuple[str, str], ...]
) -> Block:
    """The block of a segment, which is handed the part `scope` of the state and finds the values
    `own` there, each under its name. What it reads from elsewhere becomes its parameters, called as
    where it comes from."""
    arguments: list[Operand] = []
    parameters: list[Value] = []
    inside: dict[Operand, Operand] = {}
    names = dict(own)
    for operand in segment.reads:
        value = operand
        if isinstance(operand, Load):
            name = operand.entry.name
            if name in names:
                inside[operand] = Load(Entry(Part(OWN), names[name]), operand.type)
                continue
            inside[operand] = value = Value(name, operand.type)
        assert isinstance(value, Value)
        arguments.append(operand)
        parameters.append(value)
    order = sorted(range(len(arguments)), key=lambda i: not arguments[i].type.seeded)
    body = (loaded(s, inside) for s in segment.steps)
    made = (v for step in segment.steps for v in step.outputs)
    return Block(
        *(segment.key, segment.block, Part(SAVED, scope)),
        *(tuple(arguments[i] for i in order), tuple(parameters[i] for i in order)),
        *(tuple(body), tuple(v for v in made if v.name in later)),
    )


def _with_later(
    segments: Sequence[Segment], keep: Iterable[Value]
) -> Iterator[tuple[Segment, frozenset[str]]]:
    """Segments, each with the names that something after it (or the caller) still reads."""
    needed = {v.name for v in keep}
    result: list[frozenset[str]] = []
    for segment in reversed(segments):
        result.append(frozenset(needed))
        needed |= {v.name for v in segment.reads if isinstance(v, Value)}
    return zip(segments, reversed(result), strict=True)
