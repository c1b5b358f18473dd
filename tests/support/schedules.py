"""Schedules from short texts, for tests of passes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from textwrap import dedent, indent

from lrpc.backend.schedule.ir import (
    STEPS,
    Block,
    Book,
    Call,
    Compute,
    Free,
    Load,
    Only,
    Operand,
    Read,
    Schedule,
    Statement,
)
from lrpc.backend.schedule.parser import parse_schedule
from lrpc.backend.schedule.printer import print_schedule
from lrpc.backend.schedule.state import names_made
from lrpc.backend.schedule.verify import verify
from lrpc.ir.graph import Value

X = "f32[B,4]"
G = "f32[K,B,4]"
FORWARD = '%y: f32[B,4] = exp(%x)\nsave saved[""]["y"] = %y\nreturn %y'
FREED = FORWARD.replace("return", "free %x\nreturn")


def schedule(
    forward: str, relevance: str = "", ledger: str | None = "return", chunked: bool = False
) -> Schedule:
    """A forward pass of %x, and the relevance of %y at [""]["y"] from its seeds %g: a function
    without ledger and one with; where `ledger` is None, one that takes either."""

    text = f"schedule {'chunked ' * chunked}{{\n"
    text += _function(f'"forward" forward (%x: {X})', forward)
    if relevance:
        takes = "ledger " * (ledger is None)
        text += '  target "output" "" from saved[""]["y"] {\n'
        text += _function(f'"relevance_output" relevance {takes}(%g: {G})', relevance)
        if ledger is not None:
            text += _function(f'"relevance_output_ledger" relevance ledger (%g: {G})', ledger)
        text += "  }\n"
    return verify(parse_schedule(text + "}\n"))


def targets(mains: Mapping[str, str], functions: Mapping[str, str] | None = None) -> Schedule:
    """The relevance of %y from its seeds %g under several names, each with a ledger or without;
    `functions` are bodies by what stands before them."""
    text = "schedule {\n"
    for head, body in (functions or {}).items():
        text += _function(head, body)
    text += _function(f'"forward" forward (%x: {X})', FORWARD)
    for name, body in mains.items():
        text += f'  target "{name}" "" from saved[""]["y"] {{\n'
        text += _function(f'"relevance_{name}" relevance ledger (%g: {G})', body) + "  }\n"
    return verify(parse_schedule(text + "}\n"))


def _function(head: str, body: str) -> str:
    return f"  function {head} {{\n{indent(dedent(body).strip(), '    ')}\n  }}\n"


def same(found: Schedule, expected: Schedule) -> None:
    """Equal, and a schedule that verifies, prints and parses back."""
    assert print_schedule(found) == print_schedule(expected)
    assert parse_schedule(print_schedule(verify(found))) == found


# -- what a schedule does, however it is cut -------------------------------------------------------


def put_back(body: Iterable[Statement], schedule: Schedule) -> tuple[Statement, ...]:
    """Statements with those of blocks, and of the parts of main functions that they call, in the
    places of these."""
    return tuple(_put_back(body, schedule))


def _put_back(body: Iterable[Statement], schedule: Schedule) -> Iterator[Statement]:
    for s in body:
        if isinstance(s, Block):
            inside = dict(zip((v.name for v in s.parameters), s.arguments, strict=True))
            yield from _put_back((_with(x, inside) for x in s.body), schedule)
        elif isinstance(s, Call) and schedule.by_name[s.function].half in ("tail", "part"):
            called = schedule.by_name[s.function]
            inside = dict(zip((v.name for v in called.parameters), s.arguments, strict=True))
            there = dict(zip(names_made(called.body), s.values, strict=True))
            yield from _put_back((_with(x, inside, there) for x in called.body), schedule)
        else:
            yield s


def _with(s: Statement, inside: Mapping[str, Operand], names: Mapping[str, str] = {}) -> Statement:
    """A statement on other operands, and other names for what it makes."""

    def value(v: Value) -> Value:
        return Value(names.get(v.name, v.name), v.type)

    def operand(x: Operand) -> Operand:
        return x if isinstance(x, Load) else inside.get(x.name) or value(x)

    def freed(name: str) -> str:
        given = inside.get(name)
        return given.name if isinstance(given, Value) else names.get(name, name)

    if isinstance(s, Only):
        return replace(s, body=tuple(_with(x, inside, names) for x in s.body))
    if isinstance(s, Free):
        return replace(s, values=tuple(map(freed, s.values)))
    if isinstance(s, Call):
        values = tuple(names.get(n, n) for n in s.values)
        made = tuple(map(value, s.results))
        return replace(s, arguments=tuple(map(operand, s.arguments)), results=made, values=values)
    assert isinstance(s, STEPS)
    s = replace(s, inputs=tuple(map(operand, s.inputs)))
    return replace(s, outputs=tuple(map(value, s.outputs))) if isinstance(s, Compute) else s


def runs(body: Iterable[Statement], ledger: bool) -> list[Statement]:
    """The statements that run in calls with a ledger, or in those without one, one by one."""
    found: list[Statement] = []
    for s in body:
        if isinstance(s, Only):
            found += runs(s.body, ledger) if s.ledger == ledger else []
        elif isinstance(s, Free):
            found += [Free((name,)) for name in s.values] + [Free((), (p,)) for p in s.parts]
        elif ledger or not isinstance(s, Book):
            found.append(s)
    return found


def computed(body: Iterable[Statement]) -> list[object]:
    """What straight-line statements compute of relevance, hand out and book, in order, whatever
    their values are called."""
    held: dict[str, object] = {"g": "g"}
    found: list[object] = []
    for s in body:
        assert isinstance(s, STEPS)
        what = [x.entry if isinstance(x, Load) else held[x.name] for x in s.inputs]
        if isinstance(s, Compute):
            key = (s.op, s.attrs, s.over if s.origin.role else None, *what)
            held[s.outputs[0].name] = hash(key)
            found += [(key, s.origin)] if s.origin.role else []
        else:
            found.append((s.place if isinstance(s, Read) else (s.attrs, s.times), *what))
    return found
