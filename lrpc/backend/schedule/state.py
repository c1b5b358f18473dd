"""Where the state has the values of the forward pass, and which of them are saved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from lrpc.backend.body import Names
from lrpc.backend.schedule.ir import (
    OWN,
    SAVED,
    STEPS,
    Block,
    Call,
    Compute,
    Entry,
    Load,
    Only,
    Part,
    Save,
    Statement,
    Step,
)
from lrpc.ir.graph import Rule, Value

Places = Mapping[str, Entry]  # of the values of the forward pass, by their names in the graph


def entries(inputs: Iterable[Value], body: Iterable[Statement]) -> dict[str, Entry]:
    """Where the forward pass would save each of its values, in program order."""
    rest = Part(SAVED)
    places = {v.name: Entry(rest, v.name) for v in inputs}
    for statement in body:
        if isinstance(statement, Compute):
            places.update((v.name, Entry(rest, v.name)) for v in statement.outputs)
        elif isinstance(statement, Block):
            part = Part(SAVED, statement.key)
            names = _local_names(statement.parameters, statement.body)
            places.update((name, Entry(part, local)) for name, local in names)
    return places


@lru_cache(maxsize=1024)
def _local_names(
    parameters: tuple[Value, ...], body: tuple[Statement, ...]
) -> tuple[tuple[str, str], ...]:
    """The local names in a function of what a block makes."""
    names = Names()
    for value in parameters:
        names.argument(value, "x")
    return tuple((v.name, names.local(v)) for v in made(body))


def steps_of(body: Iterable[Statement]) -> tuple[Step, ...]:
    """The operations, reads and ledger rows among the statements of a body, under conditions as
    well."""
    return tuple(_steps(body))


def _steps(body: Iterable[Statement]) -> Iterator[Step]:
    for s in body:
        if isinstance(s, Only):
            yield from _steps(s.body)
        elif isinstance(s, STEPS):
            yield s


Application = tuple[str, Rule]  # of a rule: the module path, and the rule


def application(s: Step) -> Application | None:
    """The application of a rule that a step of relevance is a part of."""
    if s.origin.rule is None or (isinstance(s, Compute) and s.origin.role != "relevance"):
        return None
    return s.origin.module, s.origin.rule


def made(body: Iterable[Statement]) -> Iterator[Value]:
    """What the statements of a body make."""
    return (v for s in body if isinstance(s, Compute) for v in s.outputs)


def names_made(body: Iterable[Statement]) -> tuple[str, ...]:
    """The names of what the statements of a body make, under conditions and in what they call as
    well: each once."""
    return tuple(dict.fromkeys(_names_made(body)))


def _names_made(body: Iterable[Statement]) -> Iterator[str]:
    for s in body:
        if isinstance(s, Compute):
            yield from (v.name for v in s.outputs)
        elif isinstance(s, (Only, Block)):
            yield from _names_made(s.body)
        elif isinstance(s, Call):
            yield from s.values


def placed(body: Iterable[Statement], places: Places) -> list[Statement]:
    """Statements whose entries, called by the names of the graph so far, lie where `places` says.
    Blocks keep tables in their own part alone."""
    found: list[Statement] = []
    for statement in body:
        if isinstance(statement, Block):
            inside = statement.body
            if any(isinstance(s, Compute) and s.keeps is not None for s in inside):
                inside = tuple(_kept(s, places, statement.part.scope) for s in inside)
            arguments = tuple(_operand(x, places) for x in statement.arguments)
            statement = replace(statement, arguments=arguments, body=inside)
        elif isinstance(statement, STEPS):
            if any(isinstance(x, Load) for x in statement.inputs):
                inputs = tuple(_operand(x, places) for x in statement.inputs)
                statement = replace(statement, inputs=inputs)
            statement = _kept(statement, places, None)
        found.append(statement)
    return found


def _operand(operand: Value | Load, places: Places) -> Value | Load:
    if isinstance(operand, Load):
        return replace(operand, entry=places[operand.entry.name])
    return operand


def _kept(statement: Statement, places: Places, scope: str | None) -> Statement:
    """A statement that keeps its tables where `places` says, in the part `scope` alone where it is
    given."""
    if not isinstance(statement, Compute) or statement.keeps is None:
        return statement
    return replace(statement, keeps=within(places[statement.keeps.name], scope))


def within(entry: Entry | None, scope: str | None) -> Entry | None:
    """An entry as a function sees it whose own part is `scope`, None where it cannot reach it; main
    functions (no `scope`) reach all."""
    if scope is None or entry is None:
        return entry
    return Entry(Part(OWN), entry.name) if entry.part.scope == scope else None


def saving(inputs: Sequence[Value], body: Iterable[Statement], saves: Places) -> list[Statement]:
    """A main function that saves these of its inputs and of what it makes, in its blocks too."""
    found = _saved(inputs, saves)
    for statement in body:
        if isinstance(statement, Save):
            continue
        if isinstance(statement, Block):
            statement = replace(statement, body=saving_own(statement.body, saves))
        found.append(statement)
        if isinstance(statement, Compute):
            found += _saved(statement.outputs, saves)
    return found


def saving_own(body: Iterable[Statement], saves: Places) -> tuple[Statement, ...]:
    """The statements of a block that saves these of the values that it makes in its own part."""
    found: list[Statement] = []
    for statement in body:
        if isinstance(statement, Save):
            continue
        found.append(statement)
        if isinstance(statement, Compute):
            made = (v for v in statement.outputs if v.name in saves)
            found += [Save(Entry(Part(OWN), saves[v.name].name), v) for v in made]
    return tuple(found)


def _saved(values: Iterable[Value], saves: Places) -> list[Statement]:
    return [Save(saves[v.name], v) for v in values if v.name in saves]
