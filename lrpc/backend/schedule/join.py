"""The functions of a target without and with ledger become one, which books rows for those who ask.

Both come from one lowering. What they have in common, by what it computes and whatever its values
are called, stands once; the rest runs only with a ledger, or only without one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from lrpc.backend.schedule.ir import (
    Block,
    Book,
    Compute,
    Function,
    Load,
    Only,
    Operand,
    Schedule,
    Statement,
)
from lrpc.backend.schedule.walk import operands, renamed, results
from lrpc.ir.graph import Value


def join(schedule: Schedule) -> Schedule:
    """The schedule with one function for each target, which takes a ledger or none."""
    joined = (replace(t, functions=(_joined(*t.functions),)) for t in schedule.targets)
    return replace(schedule, targets=tuple(joined))


def _joined(plain: Function, booked: Function) -> Function:
    numbers = dict[object, int]()
    held = [_held(function, numbers) for function in (plain, booked)]
    names = dict(zip(held[1].values(), held[1], strict=True))
    called = dict[str, str]()
    for name, what in held[0].items():
        own = names.get(what, name)
        while what not in names and own in held[1]:  # of another value
            own += "_"
        called[name] = own
    ours = renamed(plain, called)
    body = _Joiner(set(called.values())).bodies(ours.body, booked.body)
    return replace(booked, name=plain.name, body=body)


def _held(function: Function, numbers: dict[object, int]) -> dict[str, int]:
    """A number for what each value of a function holds, from `numbers` of what is computed how.
    What is computed more often than once has a number for each time."""
    found = dict[str, int]()
    times = Counter[object]()
    for i, value in enumerate(function.parameters):
        found[value.name] = numbers.setdefault(("given", i), len(numbers))

    def of(x: Operand, block: str) -> object:
        if isinstance(x, Load):
            return (block, x.entry)
        return found.get(x.name, x.name)  # by name: what lies in the state

    for block, s in _steps(function.body):
        what = (s.op, s.attrs, tuple(of(x, block) for x in s.inputs))
        times[what] += 1
        for place, value in enumerate(s.outputs):
            found[value.name] = numbers.setdefault((what, times[what], place), len(numbers))
    return found


def _steps(body: Sequence[Statement], block: str = "") -> Iterator[tuple[str, Compute]]:
    """The operations of a body, each with the key of its block."""
    for s in body:
        if isinstance(s, Block):
            yield from _steps(s.body, s.key)
        elif isinstance(s, Compute):
            yield block, s


@dataclass
class _Joiner:
    """Puts two bodies together whose values are called alike; those in `plain` are there without a
    ledger."""

    plain: Set[str]

    def bodies(self, a: Sequence[Statement], b: Sequence[Statement]) -> tuple[Statement, ...]:
        """One body for both."""
        matched = SequenceMatcher(None, list(map(_key, a)), list(map(_key, b)), autojunk=False)
        found: list[Statement] = []
        for same, i, j, k, m in matched.get_opcodes():
            if same == "equal":
                for s, t in zip(a[i:j], b[k:m], strict=True):
                    found += self._pair(s, t)
            else:
                found += [Only(False, (s,)) for s in a[i:j]]
                found += [Only(True, (t,)) for t in b[k:m]]
        return tuple(_moved(found))

    def _pair(self, s: Statement, t: Statement) -> list[Statement]:
        """Two statements that do the same."""
        both = self._blocks(s, t) if isinstance(s, Block) and isinstance(t, Block) else None
        if both is not None:
            return [both]
        if s == t and not isinstance(t, Book):
            return [t]
        return [Only(False, (s,)), Only(True, (t,))]

    def _blocks(self, s: Block, t: Block) -> Block | None:
        """One block for both; None where one has what the other lacks."""
        if (s.part, s.over) != (t.part, t.over) or {*s.results} != {*t.results}:
            return None
        given = [dict(zip(x.parameters, x.arguments, strict=True)) for x in (s, t)]
        more = {v.name for v in given[1] if v not in given[0]}
        values = {x.name for v, x in given[1].items() if v.name in more and isinstance(x, Value)}
        if not given[0].items() <= given[1].items() or not values <= self.plain:
            return None
        return replace(t, body=self.bodies(s.body, t.body))


def _moved(body: Sequence[Statement]) -> list[Statement]:
    """The statements with an operation that stands at two places, with a ledger and without, at the
    first of them, where what it reads is there in both cases."""
    places: dict[Statement, list[int]] = {}
    for i, s in enumerate(body):
        if isinstance(s, Only) and isinstance(s.body[0], Compute) and s.body[0].over is None:
            places.setdefault(s.body[0], []).append(i)
    found = list[Statement | None](body)
    partly = {v.name for s in body if isinstance(s, Only) for v in results(s)}
    for s, at in places.items():
        read = {x.name for x in operands(s) if isinstance(x, Value)}
        if len(at) == 2 and not read & partly:
            found[at[0]], found[at[1]] = s, None
            partly -= {v.name for v in results(s)}
    return [s for s in found if s is not None]


def _key(s: Statement) -> object:
    """What a statement does, but for the operand that it writes over."""
    if isinstance(s, Block):
        return s.key
    return replace(s, over=None) if isinstance(s, Compute) else s
