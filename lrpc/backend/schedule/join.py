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
    RECOMPUTED,
    Block,
    Book,
    Compute,
    Function,
    Load,
    Only,
    Operand,
    Read,
    Recompute,
    Schedule,
    Statement,
)
from lrpc.backend.schedule.memo import remembered
from lrpc.backend.schedule.walk import operands, renamed, results
from lrpc.ir.graph import Value


def join(schedule: Schedule) -> Schedule:
    """The schedule with one function for each target, which takes a ledger or none."""
    joined = (replace(t, functions=(_joined(*t.functions),)) for t in schedule.targets)
    return replace(schedule, targets=tuple(joined))


def _joined(plain: Function, with_ledger: Function) -> Function:
    numbers = dict[object, int]()
    held = [_held(function, numbers) for function in (plain, with_ledger)]
    names = dict(zip(held[1].values(), held[1], strict=True))
    called = dict[str, str]()
    for name, what in held[0].items():
        own = names.get(what, name)
        while what not in names and own in held[1]:  # of another value
            own += "_"
        called[name] = own
    ours = renamed(plain, {name: own for name, own in called.items() if own != name})
    there = {v.name for s in ours.body for v in results(s)}  # not what lies inside of blocks
    there |= {v.name for v in ours.parameters}
    body = _Joiner(there).bodies(ours.body, with_ledger.body)
    return replace(with_ledger, name=plain.name, body=body)


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
        found: list[Statement] = []
        i = k = 0
        for j, m in [*_pairs(a, b), (len(a), len(b))]:
            found += [Only(False, (s,)) for s in a[i:j]]
            found += [Only(True, (t,)) for t in b[k:m]]
            found += self._pair(a[j], b[m]) if j < len(a) else []
            i, k = j + 1, m + 1
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
        loads = [x for v, x in given[1].items() if v.name in more and isinstance(x, Load)]
        if any(x.entry.part.kind == RECOMPUTED for x in loads):
            return None  # perhaps not computed again yet
        if not given[0].items() <= given[1].items() or not values <= self.plain:
            return None
        return replace(t, body=_inside(s.body, t.body))


@remembered()
def _inside(a: tuple[Statement, ...], b: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """One body for those of two blocks, which have no blocks in them."""
    return _Joiner(frozenset()).bodies(a, b)


def _pairs(a: Sequence[Statement], b: Sequence[Statement]) -> Iterator[tuple[int, int]]:
    """The places of what two bodies have in common: of relevance, which both have in one order,
    first of all, then of what is computed again of the forward pass between."""
    relevant = [[i for i, s in enumerate(body) if _relevant(s)] for body in (a, b)]
    i = k = 0
    for j, m in [*_common(a, b, *relevant), (len(a), len(b))]:
        yield from _common(a, b, range(i, j), range(k, m))
        if j < len(a):
            yield j, m
        i, k = j + 1, m + 1


def _common(
    a: Sequence[Statement], b: Sequence[Statement], ours: Sequence[int], theirs: Sequence[int]
) -> list[tuple[int, int]]:
    """The places of the longest runs that do the same, among these places of two bodies."""
    if not (ours and theirs):
        return []
    keys = [_key(a[i]) for i in ours], [_key(b[k]) for k in theirs]
    if keys[0] == keys[1]:
        return list(zip(ours, theirs, strict=True))
    runs = SequenceMatcher(None, *keys, autojunk=False).get_matching_blocks()
    return [(ours[i + n], theirs[k + n]) for i, k, size in runs for n in range(size)]


def _relevant(s: Statement) -> bool:
    """Whether a statement computes relevance, or hands it out."""
    return isinstance(s, (Block, Read)) or (isinstance(s, Compute) and s.origin.role == "relevance")


def _moved(body: Sequence[Statement]) -> list[Statement]:
    """The statements with an operation that stands at two places, with a ledger and without, at the
    first of them, where what it reads is there in both cases."""
    places: dict[Statement, list[int]] = {}
    for i, s in enumerate(body):
        if isinstance(s, Only) and isinstance(s.body[0], Compute) and s.body[0].over is None:
            places.setdefault(s.body[0], []).append(i)
    found = list[Statement | None](body)
    partly = {name for s in body if isinstance(s, Only) for name in _made(s.body[0])}
    for s, at in places.items():
        if len(at) == 2 and not partly & _read(s):
            found[at[0]], found[at[1]] = s, None
            partly -= set(_made(s))
    return [s for s in found if s is not None]


Name = tuple[str, bool]  # of a value, or of a part that is computed again


def _made(s: Statement) -> list[Name]:
    return [(s.scope, True)] if isinstance(s, Recompute) else [(v.name, False) for v in results(s)]


def _read(s: Statement) -> set[Name]:
    read = operands(s)
    parts = {x.entry.part for x in read if isinstance(x, Load)}
    again = {(part.scope, True) for part in parts if part.kind == RECOMPUTED}
    return again | {(x.name, False) for x in read if isinstance(x, Value)}


def _key(s: Statement) -> object:
    """What a statement does, but for the operand that it writes over."""
    if isinstance(s, Block):
        return s.key
    return replace(s, over=None) if isinstance(s, Compute) and s.over is not None else s
