"""Results are written over an operand where nothing else can see it any more.

Its memory was then allocated by the same run of statements, neither it nor another name of that
memory is read later, returned or kept in the state, and the result has its shape and type.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from lrpc.backend.schedule.ir import (
    STEPS,
    Block,
    Compute,
    Function,
    Read,
    Save,
    Schedule,
    Statement,
    Step,
)
from lrpc.backend.schedule.memo import remembered
from lrpc.backend.schedule.table import SAME_MEMORY, allocates, operands_over
from lrpc.backend.schedule.walk import reads, with_blocks, with_mains
from lrpc.ir.graph import Value


def in_place(schedule: Schedule) -> Schedule:
    """Every operation that can writes over an operand: in a block, and in a main function over
    what no block is handed."""
    schedule = with_blocks(schedule, _block)
    return with_mains(schedule, _main)


def _block(block: Block) -> Block:
    return replace(block, body=_body(block.body, frozenset(v.name for v in block.results)))


@remembered()
def _body(body: tuple[Statement, ...], results: frozenset[str]) -> tuple[Statement, ...]:
    return tuple(_run(body, results))


def _main(function: Function) -> Function:
    keep = {v.name for v in function.results}
    return replace(function, body=tuple(_run(function.body, keep)))


def _run(body: Sequence[Statement], keep: Collection[str]) -> list[Statement]:
    """Straight-line statements, after which values named in `keep` are read. What a block is
    handed may live on in what it returns."""
    keep = {*keep, *(s.value.name for s in body if isinstance(s, Save))}
    memory = _Memory()
    for index, s in enumerate(body):
        if isinstance(s, STEPS):
            memory.note(index, s, keep)
        else:
            memory.lend(reads(s))
    found: list[Statement] = []
    for index, s in enumerate(body):
        if isinstance(s, Compute) and (over := memory.operand(index, s)) is not None:
            s = replace(s, over=over)
        found.append(s)
    return found


@dataclass
class _Memory:
    """The memory that statements allocate, by the value that it was made for; and when each is
    read last."""

    of: dict[str, str] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)

    def note(self, index: int, step: Step, keep: Collection[str]) -> None:
        """Statement `index`: what it reads, and whose memory its results lie in."""
        names = [x.name for x in step.inputs if isinstance(x, Value)]
        handed_out = isinstance(step, Read) and len(step.inputs) == 1
        self._read(names, float("inf") if handed_out else index)
        if not isinstance(step, Compute):
            return
        first, made = step.inputs[:1], [v.name for v in step.outputs]
        if allocates(step.op) and len(made) == 1:
            self.of[made[0]] = made[0]
        elif step.op in SAME_MEMORY and isinstance(first[0], Value) and names[0] in self.of:
            self.of[made[0]] = self.of[names[0]]
        elif not allocates(step.op):  # a name for a part of it, perhaps: it stays
            self._read(names, float("inf"))
        for name in made:
            self._read([name], float("inf") if name in keep else index)

    def lend(self, names: Iterable[str]) -> None:
        """Others may hold these values from now on."""
        self._read(names, float("inf"))

    def _read(self, names: Iterable[str], when: float) -> None:
        for root in (self.of[name] for name in names if name in self.of):
            self.last[root] = max(self.last.get(root, 0), when)

    def operand(self, index: int, step: Compute) -> int | None:
        """The operand that statement `index` may write over."""
        count = operands_over(step.op)
        if not count:
            return None
        roots = [self.of.get(x.name) if isinstance(x, Value) else None for x in step.inputs]
        for place in range(count):
            root = roots[place]
            alone = roots.count(root) == 1 and step.inputs[place].type == step.outputs[0].type
            if root and alone and self.last[root] == index:
                return place
        return None
