"""Relevance computes again what the state does not keep of some blocks of the forward pass.

A block that is computed again leaves in the state what others read of it, and those of its other
values that are named. Relevance makes the rest once more, in a copy of that part of the state, just
before the first statement that reads one of its values, and drops the copy after the last one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property

from lrpc.backend.schedule.ir import (
    AGAIN,
    NEW,
    OWN,
    Block,
    Compute,
    Entry,
    Free,
    Function,
    Load,
    Operand,
    Part,
    Recompute,
    Save,
    Schedule,
    Statement,
    Step,
)
from lrpc.backend.schedule.state import Places, entries, made, saving, steps_of, within
from lrpc.backend.schedule.tables import Tables, shared_tables, with_tables
from lrpc.ir.graph import Value

#: Key of a block → the names in the state of what it keeps; with none, that is what others read,
#: and relevance runs all of it. `NAME.tables` is what the sampling NAME shares.
Kept = Mapping[str, Sequence[str]]
TABLES = ".tables"


def recompute(schedule: Schedule, kept: Kept, needed: Set[str]) -> Schedule:
    """The schedule that computes the blocks in `kept` again, but for what they keep. Relevance of
    some target reads the values `needed` of the forward pass."""
    if not kept:
        return schedule
    plan = _plan(schedule, kept, needed)
    forward = replace(schedule.forward, body=tuple(_forward(schedule.forward, plan)))
    return replace(
        schedule,
        forward=forward,
        targets=tuple(
            replace(t, plain=_relevance(t.plain, plan), booked=_relevance(t.booked, plan))
            for t in schedule.targets
        ),
    )


def kept_and_made(
    schedule: Schedule, kept: Kept, needed: Set[str]
) -> dict[str, tuple[list[str], list[str]]]:
    """Of each block that is computed again: the names in the state of what it keeps, and of what
    relevance makes."""
    plan = _plan(schedule, kept, needed)
    found = {}
    for key in plan.runs:
        parts: tuple[list[str], list[str]] = ([], [])
        for name, entry in plan.places.items():
            if entry.part.scope == key and name in plan.needed:
                parts[name not in plan.kept].append(entry.name)
        for entry in dict.fromkeys(plan.tables.values()):
            if entry.part.scope == key:
                name = f"{entry.name}{TABLES}"
                parts[name not in kept[key]].append(name)
        found[key] = parts
    return found


@dataclass
class _Plan:
    """What is computed again: the statements that run again by block, in program order; which
    values of the forward pass are needed, and which the state keeps of these blocks."""

    chosen: Kept
    places: Places
    tables: Tables
    needed: set[str]
    kept: set[str] = field(default_factory=set)
    runs: dict[str, tuple[Step, ...]] = field(default_factory=dict)
    blocks: dict[str, Block] = field(default_factory=dict)  # as the forward pass has them

    def whole(self, key: str) -> bool:
        """Whether all of a block runs again."""
        return not self.chosen[key]

    @cached_property
    def there(self) -> set[Entry]:
        """What the state keeps of the blocks."""
        return {self.places[name] for name in self.kept}

    def drops(self, operand: Operand) -> bool:
        """Whether an operand is computed again."""
        return (
            isinstance(operand, Load)
            and operand.entry.part.scope in self.runs
            and operand.entry not in self.there
        )

    def fetch(self, operand: Operand) -> Operand:
        """An operand where relevance finds it."""
        return self.load(operand.entry, operand) if isinstance(operand, Load) else operand

    def load(self, entry: Entry, operand: Operand) -> Load:
        """What lies at an entry of the state, or is computed again."""
        found = Load(entry, operand.type)
        if not self.drops(found):
            return found
        return Load(Entry(Part(AGAIN, entry.part.scope), entry.name), operand.type)


def _plan(schedule: Schedule, kept: Kept, needed: Set[str]) -> _Plan:
    forward = schedule.forward
    places = entries(forward.parameters, forward.body)
    steps = [s for x in forward.body for s in (steps_of(x.body) if isinstance(x, Block) else [x])]
    tables = shared_tables((s for s in steps if isinstance(s, Step)), places)
    names = {entry: name for name, entry in places.items()}
    starts = {names[target.start] for target in schedule.targets}
    readers = _readers(forward, starts | {v.name for v in forward.results})
    plan = _Plan(kept, places, tables, set(needed))
    runs: dict[str, tuple[Step, ...]] = {}
    for block in reversed(forward.body):  # what a block reads again is made before it
        if isinstance(block, Block) and block.key in kept:
            runs[block.key] = _run(block, plan, readers)
    plan.runs = {key: runs[key] for key in reversed(runs)}
    return plan


def _run(block: Block, plan: _Plan, readers: Mapping[str, set[str]]) -> tuple[Step, ...]:
    """The statements of a block that run again; the plan learns what is kept and needed for it."""
    steps, own = steps_of(block.body), {v.name for v in made(block.body)}
    crossing = {name for name in own if readers.get(name, set()) - {block.key}}
    named = {name for name in own if plan.places[name].name in plan.chosen[block.key]}
    plan.needed |= named
    if plan.chosen[block.key]:
        there = named | (crossing & plan.needed)
        steps = _making(steps, own & plan.needed - there, there)
    plan.kept |= crossing | named
    inside = {v.name for s in steps for v in s.outputs}
    plan.needed |= {v.name for s in steps for v in s.inputs if isinstance(v, Value)} - inside
    return steps


def _making(steps: Sequence[Step], wanted: set[str], there: set[str]) -> tuple[Step, ...]:
    """Those of the steps that make the values `wanted`, where others of their values are there."""
    wanted, found = set(wanted), list[Step]()
    for step in reversed(steps):
        if any(v.name in wanted for v in step.outputs):
            found.append(step)
            names = {v.name for v in step.inputs if isinstance(v, Value)}
            wanted |= names - there
    return tuple(reversed(found))


def _readers(forward: Function, outside: set[str]) -> dict[str, set[str]]:
    """Value → the keys of the blocks that read it, "" for all others."""
    found: dict[str, set[str]] = {name: {""} for name in outside}
    for s in forward.body:
        reads = s.arguments if isinstance(s, Block) else s.inputs if isinstance(s, Step) else ()
        for value in reads:
            assert isinstance(value, Value)
            found.setdefault(value.name, set()).add(s.key if isinstance(s, Block) else "")
    return found


# -- the forward pass ------------------------------------------------------------------------------


def _forward(forward: Function, plan: _Plan) -> list[Statement]:
    saves = {
        name: entry
        for name, entry in plan.places.items()
        if name in plan.needed
        and (not plan.chosen.get(entry.part.scope) or name in plan.kept)
    }
    body: list[Statement] = []
    for s in saving(forward.parameters, forward.body, saves):
        if not isinstance(s, Block):
            body.append(with_tables(s, plan.tables, plan.needed) if isinstance(s, Step) else s)
            continue
        names = plan.chosen.get(s.key, ())
        inside = tuple(_with_tables(x, plan, s.key, names) for x in s.body)
        s = replace(s, body=inside)
        if s.key in plan.runs and plan.whole(s.key):
            later = {v.name for v in s.results} | plan.kept
            s = replace(s, results=tuple(v for v in made(s.body) if v.name in later))
            body.append(replace(s, part=Part(NEW, s.key)))
            kept = (v for v in s.results if v.name in plan.kept & plan.needed)
            body += [Save(plan.places[v.name], v) for v in kept]
        else:
            body.append(s)
        plan.blocks[s.key] = s
    return body


def _with_tables(s: Statement, plan: _Plan, scope: str, kept: Sequence[str] = ()) -> Statement:
    """A statement of a block with the entry of its tables; of tables `kept` alone, where any are
    named."""
    if not isinstance(s, Compute):
        return s
    s = with_tables(s, plan.tables, plan.needed)
    s = replace(s, keeps=within(s.keeps, scope))
    if kept and s.keeps is not None and f"{s.keeps.name}{TABLES}" not in kept:
        return replace(s, keeps=None)
    return s


# -- relevance -------------------------------------------------------------------------------------


def _relevance(function: Function, plan: _Plan) -> Function:
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for i, s in enumerate(function.body):
        for key in _wanted(s, plan):
            first.setdefault(key, i)
            last[key] = i
    body: list[Statement] = []
    for i, s in enumerate(function.body):
        body += [_anew(key, plan) for key in plan.runs if first.get(key) == i]
        there = {key for key in first if first[key] <= i <= last[key]}
        body.append(_rewritten(s, plan, there))
        parts = tuple(key for key in plan.runs if last.get(key) == i)
        body += [Free((), parts)] if parts else []
    return replace(function, body=tuple(body))


def _wanted(s: Statement, plan: _Plan) -> set[str]:
    """The blocks to compute again for a statement: those of values that the state lacks, and whose
    part of the state the function of a block reads or adds to."""
    found = set[str]()
    if isinstance(s, Block):
        found |= {x.entry.part.scope for x in s.arguments if plan.drops(x)}
        steps = steps_of(s.body)
        own = any(isinstance(x, Load) for step in steps for x in step.inputs)
        if own or any(isinstance(step, Compute) and step.keeps for step in steps):
            found.add(s.part.scope)
    elif isinstance(s, Step):
        found |= {x.entry.part.scope for x in s.inputs if plan.drops(x)}
        if isinstance(s, Compute) and s.keeps is not None:
            found.add(s.keeps.part.scope)
    return found & plan.runs.keys()


def _rewritten(s: Statement, plan: _Plan, there: set[str]) -> Statement:
    """A statement that finds in copies of parts of the state what is computed again; `there` are
    the copies that there are."""

    def part(own: Part) -> Part:
        return Part(AGAIN, own.scope) if own.scope in there else own

    if isinstance(s, Block):
        arguments = tuple(map(plan.fetch, s.arguments))
        return replace(s, arguments=arguments, part=part(s.part))
    if isinstance(s, Step):
        s = replace(s, inputs=tuple(map(plan.fetch, s.inputs)))
    if isinstance(s, Compute) and s.keeps is not None:
        return replace(s, keeps=replace(s.keeps, part=part(s.keeps.part)))
    return s


def _anew(key: str, plan: _Plan) -> Recompute:
    """The statement that makes a block's values again."""
    block, part = plan.blocks[key], Part(AGAIN, key)
    if plan.whole(key):
        arguments = tuple(plan.load(plan.places[v.name], v) for v in block.parameters)
        return Recompute(key, True, replace(block, part=part, arguments=arguments))
    steps = plan.runs[key]
    if not steps:
        return Recompute(key, False, None)
    inside = {v.name for v in made(steps)}
    parameters: dict[str, Value] = {}

    def operand(x: Operand) -> Operand:
        assert isinstance(x, Value)
        entry = plan.places[x.name]
        if x.name in inside:
            return x
        if entry.part.scope == key:
            return Load(Entry(Part(OWN), entry.name), x.type)
        return parameters.setdefault(x.name, x)

    tabled = (_with_tables(s, plan, key) for s in steps)
    body = [replace(s, inputs=tuple(map(operand, s.inputs))) for s in tabled]
    names = plan.needed - plan.kept
    saves = {n: Entry(Part(OWN), e.name) for n, e in plan.places.items() if n in names}
    arguments = tuple(plan.load(plan.places[v.name], v) for v in parameters.values())
    run = Block(key, block.block, part, arguments, tuple(parameters.values()), tuple(saving((), body, saves)))
    return Recompute(key, False, run)
