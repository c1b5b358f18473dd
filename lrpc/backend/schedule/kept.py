"""What the state keeps of blocks that are computed again, and which of their statements run again.

A block that is computed again leaves in the state what others read of it, and those of its other
values that are named. Relevance makes the rest once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

from lrpc.backend.schedule.ir import (
    RECOMPUTED,
    STEPS,
    Block,
    Entry,
    Function,
    Load,
    Operand,
    Part,
    Schedule,
    Step,
)
from lrpc.backend.schedule.state import Places, entries, made, steps_of
from lrpc.backend.schedule.tables import Tables, shared_tables
from lrpc.ir.graph import Value

#: Key of a block → the names in the state of what it keeps; with none, that is what others read,
#: and relevance runs all of it. `NAME.tables` is what the sampling NAME shares.
Kept = Mapping[str, Sequence[str]]
TABLES = ".tables"


def read_again(schedule: Schedule, kept: Kept, needed: Set[str]) -> set[str]:
    """The values that have to be there to compute these blocks again."""
    return plan_of(schedule, kept, needed).reads


def dropped(schedule: Schedule, kept: Kept, needed: Set[str]) -> frozenset[str]:
    """The values of those that relevance reads which the state then does not keep."""
    plan = plan_of(schedule, kept, needed)
    inside = {name for name, e in plan.places.items() if e.part.scope in plan.runs}
    return frozenset((needed & inside) - plan.kept)


def sampling_tables(
    schedule: Schedule, kept: Kept, needed: Set[str]
) -> tuple[Places, Tables, Set[str]]:
    """Where the state has each value of the forward pass and the tables of its samplings, and the
    values that are needed of it."""
    plan = plan_of(schedule, kept, needed)
    return plan.places, plan.tables, plan.needed


def kept_and_made(
    schedule: Schedule, kept: Kept, needed: Set[str]
) -> dict[str, tuple[list[str], list[str]]]:
    """Of each block that is computed again: the names in the state of what it keeps, and of what
    relevance makes."""
    plan = plan_of(schedule, kept, needed)
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
class Plan:
    """What is computed again: the statements that run again by block, in program order; which
    values of the forward pass are needed, and which the state keeps of these blocks."""

    chosen: Kept
    places: Places
    tables: Tables
    needed: set[str]
    kept: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)  # what has to be there for what runs again
    runs: dict[str, tuple[Step, ...]] = field(default_factory=dict)
    blocks: dict[str, Block] = field(default_factory=dict)  # as the forward pass has them

    def whole(self, key: str) -> bool:
        """Whether all of a block runs again."""
        return not self.chosen[key]

    @cached_property
    def there(self) -> set[Entry]:
        """What the state keeps of the blocks."""
        return {self.places[name] for name in self.kept}

    def drops(self, entry: Entry) -> bool:
        """Whether an entry of the state is computed again."""
        return entry.part.scope in self.runs and entry not in self.there

    def again(self, operands: Iterable[Operand]) -> set[str]:
        """The blocks to compute again for these operands."""
        entries = (x.entry for x in operands if isinstance(x, Load))
        return {entry.part.scope for entry in entries if self.drops(entry)}

    def fetch(self, operand: Operand) -> Operand:
        """An operand where relevance finds it."""
        return self.load(operand.entry, operand) if isinstance(operand, Load) else operand

    def load(self, entry: Entry, operand: Operand) -> Load:
        """What lies at an entry of the state, or is computed again."""
        part = Part(RECOMPUTED, entry.part.scope) if self.drops(entry) else entry.part
        return Load(Entry(part, entry.name), operand.type)


def plan_of(schedule: Schedule, kept: Kept, needed: Set[str]) -> Plan:
    forward = schedule.forward
    places = entries(forward.parameters, forward.body)
    steps = [s for x in forward.body for s in (steps_of(x.body) if isinstance(x, Block) else [x])]
    tables = shared_tables((s for s in steps if isinstance(s, STEPS)), places)
    names = {entry: name for name, entry in places.items()}
    starts = {names[target.start] for target in schedule.targets}
    readers = _readers(forward, starts | {v.name for v in forward.results})
    plan = Plan(kept, places, tables, set(needed))
    runs: dict[str, tuple[Step, ...]] = {}
    for block in reversed(forward.body):  # what a block reads again is made before it
        if isinstance(block, Block) and block.key in kept:
            runs[block.key] = _run(block, plan, readers)
    plan.runs = {key: runs[key] for key in reversed(runs)}
    return plan


def _run(block: Block, plan: Plan, readers: Mapping[str, set[str]]) -> tuple[Step, ...]:
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
    plan.reads |= {v.name for s in steps for v in s.inputs if isinstance(v, Value)} - inside
    plan.needed |= plan.reads
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
        reads = s.arguments if isinstance(s, Block) else s.inputs if isinstance(s, STEPS) else ()
        for value in reads:
            assert isinstance(value, Value)
            found.setdefault(value.name, set()).add(s.key if isinstance(s, Block) else "")
    return found
