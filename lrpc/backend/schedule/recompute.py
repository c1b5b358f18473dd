"""Relevance computes again what the state does not keep of some blocks of the forward pass.

A block that is computed again leaves in the state what others read of it, and those of its other
values that are named. Relevance makes the rest once more, in a copy of that part of the state, just
before the first statement that reads one of its values.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

from lrpc.backend.schedule.ir import (
    NEW,
    OWN,
    RECOMPUTED,
    STEPS,
    Block,
    Compute,
    Entry,
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
from lrpc.backend.schedule.kept import TABLES, Kept, Plan, plan_of
from lrpc.backend.schedule.state import made, saving, saving_own, steps_of, within
from lrpc.backend.schedule.tables import with_tables
from lrpc.ir.graph import Value


def recompute(schedule: Schedule, kept: Kept, needed: Set[str]) -> Schedule:
    """The schedule that computes the blocks in `kept` again, but for what they keep. Relevance of
    some target reads the values `needed` of the forward pass."""
    if not kept:
        return schedule
    plan = plan_of(schedule, kept, needed)
    forward = replace(schedule.forward, body=tuple(_forward(schedule.forward, plan)))
    return replace(
        schedule,
        forward=forward,
        targets=tuple(t.changed(lambda f: _relevance(f, plan)) for t in schedule.targets),
    )


# -- the forward pass ------------------------------------------------------------------------------


def _forward(forward: Function, plan: Plan) -> list[Statement]:
    saves = {
        name: entry
        for name, entry in plan.places.items()
        if name in plan.needed and (not plan.chosen.get(entry.part.scope) or name in plan.kept)
    }
    body: list[Statement] = []
    for s in saving(forward.parameters, forward.body, saves):
        if not isinstance(s, Block):
            body.append(with_tables(s, plan.tables, plan.needed) if isinstance(s, STEPS) else s)
            continue
        names = plan.chosen.get(s.key, ())
        inside = tuple(
            _with_tables(x, plan, s.key, names) if isinstance(x, STEPS) else x for x in s.body
        )
        s = replace(s, body=inside)
        if s.key in plan.runs and plan.whole(s.key):
            later = {v.name for v in s.results} | plan.kept
            s = replace(s, results=tuple(v for v in made(s.body) if v.name in later))
            body.append(replace(s, part=Part(NEW, s.key)))
            kept = (v for v in s.results if v.name in plan.kept and v.name in plan.needed)
            body += [Save(plan.places[v.name], v) for v in kept]
        else:
            body.append(s)
        plan.blocks[s.key] = s
    return body


def _with_tables(s: Step, plan: Plan, scope: str, kept: Sequence[str] = ()) -> Step:
    """A statement of a block with the entry of its tables; of tables `kept` alone, where any are
    named."""
    placed = with_tables(s, plan.tables, plan.needed)
    if not isinstance(placed, Compute):
        return placed
    keeps = within(placed.keeps, scope)
    if kept and keeps is not None and f"{keeps.name}{TABLES}" not in kept:
        keeps = None
    return placed if keeps == placed.keeps else replace(placed, keeps=keeps)


# -- relevance -------------------------------------------------------------------------------------


def _relevance(function: Function, plan: Plan) -> Function:
    wanted = [_wanted(s, plan) for s in function.body]
    last = {key: i for i, keys in enumerate(wanted) for key in keys}
    body: list[Statement] = []
    there = set[str]()
    for i, s in enumerate(function.body):
        body += [_anew(key, plan) for key in plan.runs if key in wanted[i] - there]
        there |= wanted[i]
        body.append(_rewritten(s, plan, there))
        there -= {key for key in there if last[key] == i}
    return replace(function, body=tuple(body))


def _wanted(s: Statement, plan: Plan) -> set[str]:
    """The blocks to compute again for a statement: those of values that the state lacks, and whose
    part of the state the function of a block reads or adds to."""
    found = set[str]()
    if isinstance(s, Block):
        found |= plan.again(s.arguments)
        steps = steps_of(s.body)
        own = any(isinstance(x, Load) for step in steps for x in step.inputs)
        if own or any(isinstance(step, Compute) and step.keeps for step in steps):
            found.add(s.part.scope)
    elif isinstance(s, STEPS):
        found |= plan.again(s.inputs)
        if isinstance(s, Compute) and s.keeps is not None:
            found.add(s.keeps.part.scope)
    return found & plan.runs.keys()


def _rewritten(s: Statement, plan: Plan, there: set[str]) -> Statement:
    """A statement that finds in copies of parts of the state what is computed again; `there` are
    the copies that there are."""

    def part(own: Part) -> Part:
        return Part(RECOMPUTED, own.scope) if own.scope in there else own

    if isinstance(s, Block):
        arguments = tuple(map(plan.fetch, s.arguments))
        return replace(s, arguments=arguments, part=part(s.part))
    if isinstance(s, STEPS) and any(isinstance(x, Load) for x in s.inputs):
        s = replace(s, inputs=tuple(map(plan.fetch, s.inputs)))
    if isinstance(s, Compute) and s.keeps is not None:
        return replace(s, keeps=replace(s.keeps, part=part(s.keeps.part)))
    return s


def _anew(key: str, plan: Plan) -> Recompute:
    """The statement that makes a block's values again."""
    block, part = plan.blocks[key], Part(RECOMPUTED, key)
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
    names = {v.name for v in made(body)} & plan.needed - plan.kept
    saves = {name: plan.places[name] for name in names}
    arguments = tuple(plan.load(plan.places[v.name], v) for v in parameters.values())
    run = Block(
        key,
        block.block,
        part,
        arguments,
        tuple(parameters.values()),
        saving_own(body, saves),
    )
    return Recompute(key, False, run)
