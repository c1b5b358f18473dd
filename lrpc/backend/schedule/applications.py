"""Each application of a rule becomes a block, and so a function that equal applications share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from keyword import iskeyword

from lrpc.backend.schedule.conditions import (
    apart,
    merged,
    partly_gone,
    partly_made,
    quoted,
    without,
)
from lrpc.backend.schedule.ir import (
    OWN,
    RECOMPUTED,
    SAVED,
    STEPS,
    Block,
    Book,
    Compute,
    Free,
    Function,
    Load,
    Only,
    Operand,
    Part,
    Schedule,
    Statement,
)
from lrpc.backend.schedule.memo import remembered
from lrpc.backend.schedule.memory import written_over
from lrpc.backend.schedule.state import Application, application, steps_of
from lrpc.backend.schedule.table import is_weight
from lrpc.backend.schedule.walk import changed, frees, loaded, operands, results, unconditional
from lrpc.ir.graph import Value
from lrpc.ir.ops import TABLE

FEWEST = 2  # an application of fewer operations and rows reads better in place


def applications(schedule: Schedule) -> Schedule:
    """What a rule does at one place of the model becomes a block of its own: the consecutive
    operations of relevance, and rows of its ledger, that have its name and place."""
    return replace(schedule, targets=tuple(t.changed(_main) for t in schedule.targets))


def _main(function: Function) -> Function:
    def inside(s: Statement) -> Statement:
        if isinstance(s, Block) and not s.rule:
            return replace(s, body=_block(s.body, s.results, s.block))
        return s

    body = merged(_cut(function.body, function.results, "", True))
    return replace(function, body=changed(body, inside))


@remembered()
def _block(
    body: tuple[Statement, ...], results: tuple[Value, ...], block: str
) -> tuple[Statement, ...]:
    return tuple(merged(_cut(body, results, block, False)))


def _cut(
    given: Iterable[Statement], kept: Iterable[Value], block: str, main: bool
) -> Iterator[Statement]:
    """The statements of a body, applications as blocks."""
    body = list(apart(given, _key))
    hidden = set[str]()  # values that functions keep to themselves
    later: list[set[str]] = []
    read = {v.name for v in kept}
    for s in reversed(body):
        later.append(set(read))
        if not isinstance(s, Free):
            read |= {x.name for x in operands(s) if isinstance(x, Value)}
    later.reverse()
    i = count = 0
    partly = set[str]()  # what is there with a ledger alone, or without one alone
    while i < len(body):
        found = _application(body, i, block, later)
        if found is None or not found.fits(main, partly):
            run = body[i : _end(body, i)]
            partly |= partly_made(run)
            yield from (x for x in (without(s, hidden) for s in run) if x is not None)
        else:
            run, count = list(found.run), count + 1
            part = Part(SAVED) if main else Part(OWN)
            made = (without(s, hidden) for s in found.statements(count, part))
            yield from (s for s in made if s is not None)
            hidden |= {v.name for s in run for v in results(s)} - later[i + len(run) - 1]
        partly |= partly_gone(run)
        i += len(run)


def _application(
    body: Sequence[Statement], start: int, block: str, later: Sequence[set[str]]
) -> _Application | None:
    """The application that begins at a statement. One that does nothing but book rows goes with the
    one after it, which books what it makes."""
    end, key = start, None if _between(body[start]) else _key(body[start])
    while key is not None:
        end = _end(body, end)
        run = body[start:end]
        if not partly_made(run) & later[end - 1]:
            return _Application(run, block, later[end - 1], key)
        key = _key(body[end]) if end < len(body) else None
    return None


def _end(body: Sequence[Statement], start: int) -> int:
    """Where the application ends that begins here; behind one statement where none does."""
    key, end = _key(body[start]), start + 1
    if key is None or _between(body[start]):
        return end
    made = {v.name for v in results(body[start])}
    for place in range(start + 1, len(body)):
        s = body[place]
        if frees(s):
            continue
        if _key(s) != key or _joins(s, made):
            break
        made |= {v.name for v in results(s)}
        end = place + 1 if not _between(s) else end
    while end < len(body) and frees(body[end]):
        end += 1
    return end


def _between(s: Statement) -> bool:
    """Whether a statement books what arrives at an application or leaves it."""
    if isinstance(s, Only):
        rows = [x for x in s.body if not isinstance(x, Free)]
        return bool(rows) and all(map(_between, rows))
    return isinstance(s, Book) and s.attr("kind") in ("in", "out")


def _joins(s: Statement, made: set[str]) -> bool:
    """Whether a statement adds relevance that has come another way."""
    read = [x for x in operands(s) if x.type.seeded]
    plain = isinstance(s, Compute) and s.op == "add" and len(read) == 2
    return plain and any(isinstance(x, Load) or x.name not in made for x in read)


def _key(s: Statement) -> Application | None:
    """The application that a statement is a part of."""
    if isinstance(s, Only):
        return next((_key(x) for x in s.body if not isinstance(x, Free)), None)
    return application(s) if isinstance(s, STEPS) else None


@dataclass
class _Application:
    """A run of statements that applies a rule; `later` is read after it, and `outer` is the block
    that it lies in."""

    run: Sequence[Statement]
    outer: str
    later: set[str]
    key: Application
    parameters: dict[Operand, Value] = field(default_factory=dict)

    def fits(self, main: bool, partly: set[str]) -> bool:
        """Whether it can be a function of its own: it takes nothing that is there `partly`, and
        keeps tables in the part of its block alone."""
        steps = steps_of(self.run)
        tables = any(isinstance(s, Compute) and s.keeps for s in steps)
        seeded = any(v.type.seeded for v in self._results())
        if len(steps) < FEWEST or (main and tables) or not seeded:
            return False
        return not any(_name(x) in partly for s in steps for x in s.inputs)

    def _results(self) -> list[Value]:
        made = dict.fromkeys(v for s in self.run for v in results(s))
        return [v for v in made if v.name in self.later]

    def statements(self, number: int, part: Part) -> Iterator[Statement]:
        """The block, and what is freed behind it."""
        module, rule = self.key
        inside = {v.name for s in self.run for v in results(s)}
        own = inside - {v.name for v in self._results()}
        read = dict.fromkeys(
            x
            for s in unconditional(self.run)
            for x in (operands(s) if not isinstance(s, Only) else ())
            if isinstance(x, Load) or x.name not in inside
        )
        ordered = sorted(read, key=lambda x: not x.type.seeded)  # what relevance made comes first
        taken = {x.name for x in read if isinstance(x, Value)} | inside
        for x in ordered:
            self.parameters[x] = x if isinstance(x, Value) else Value(_free(x, taken), x.type)
        body = tuple(merged(s for s in (self._inside(s, own) for s in self.run) if s))
        steps = [s for s in steps_of(self.run) if isinstance(s, Compute)]
        yield Block(
            f"{module}#{number}",
            self._path(steps),
            part,
            tuple(ordered),
            tuple(self.parameters.values()),
            body,
            tuple(self._results()),
            rule=_called(rule.name, steps),
            gives=written_over(ordered, self.run),
        )
        yield from self._freed(own)

    def _path(self, steps: Iterable[Compute]) -> str:
        """What the names of its weights start with, or else the module; within the outer block."""
        names = [str(v) for s in steps for k, v in s.attrs if is_weight(s.op, k)]
        parts = zip(*(name.split(".")[:-1] for name in names), strict=False)
        path = ".".join(same[0] for same in takewhile(lambda p: len({*p}) == 1, parts))
        for found in (path, self.key[0]):
            if found and (not self.outer or f"{found}.".startswith(f"{self.outer}.")):
                return found
        return self.outer

    def _inside(self, s: Statement, own: set[str]) -> Statement | None:
        """A statement in the block, which frees its `own` values alone."""
        if isinstance(s, Only):
            body = tuple(x for x in (self._inside(x, own) for x in s.body) if x is not None)
            return Only(s.ledger, body) if body else None
        if isinstance(s, Free):
            names = tuple(name for name in s.values if name in own)
            return Free(names) if names else None
        assert isinstance(s, (Compute, Book))
        return loaded(s, self.parameters)

    def _freed(self, own: set[str]) -> Iterator[Statement]:
        """What is freed behind the block: in calls without a ledger, in those with one, in both."""
        values: list[list[str]] = [[], []]
        parts: list[list[str]] = [[], []]
        for s in self.run:
            frees = (x for x in (s.body if isinstance(s, Only) else (s,)) if isinstance(x, Free))
            for x in frees:
                for ledger in (s.ledger,) if isinstance(s, Only) else (False, True):
                    values[ledger] += [name for name in x.values if name not in own]
                    parts[ledger] += x.parts
        both = Free(*(tuple(n for n in x[1] if n in x[0]) for x in (values, parts)))
        if both != Free(()):
            yield both
        for ledger in (False, True):
            rest = Free(
                tuple(n for n in values[ledger] if n not in both.values),
                tuple(n for n in parts[ledger] if n not in both.parts),
            )
            if rest != Free(()):
                yield Only(ledger, (rest,))


def _name(x: Operand) -> str:
    """The value, or the part that was computed again, that is there for an operand."""
    if isinstance(x, Value):
        return x.name
    return quoted(x.entry.part.scope) if x.entry.part.kind == RECOMPUTED else ""


def _free(x: Load, taken: set[str]) -> str:
    """A name for what lies in the state."""
    name = x.entry.name
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _called(rule: str, steps: Sequence[Compute]) -> str:
    """A rule and the operation of the model that it is applied to, as it shows in relevance."""
    found = [s.op.removesuffix("_transpose") for s in steps if s.op.endswith("_transpose")]
    found += [s.op for s in steps if TABLE[s.op].contracted or s.keeps is not None]
    return f"{rule}_{found[0]}" if found else f"rule_{rule}" if iskeyword(rule) else rule
