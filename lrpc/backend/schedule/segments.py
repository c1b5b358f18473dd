"""Cuts a run of steps into segments: those of one repeated block, and the glue between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count

from lrpc.backend.schedule.ir import Book, Compute, Load, Operand, Read, Step
from lrpc.ir.blocks import block_of
from lrpc.ir.graph import Value

SMALLEST = 6  # a run of fewer steps reads better in place than as a function
GLUE = (3, 12)  # the fewest and the most steps of a segment of glue that may be computed again


@dataclass(frozen=True)
class Segment:
    """Consecutive steps; `key` names the run (its block, unique in its half), "" for glue."""

    key: str
    block: str
    steps: tuple[Step, ...]

    @cached_property
    def reads(self) -> list[Operand]:
        """What is read here but made elsewhere, by first use."""
        made = {v.name for step in self.steps for v in step.outputs}
        found: dict[tuple[bool, str], Operand] = {}
        for x in (x for step in self.steps for x in step.inputs):
            if isinstance(x, Load):
                found.setdefault((True, x.entry.name), x)
            elif x.name not in made:
                found.setdefault((False, x.name), x)
        return list(found.values())


class Every:
    """Contains all keys."""

    def __contains__(self, key: object) -> bool:
        return True


def cut(steps: Sequence[Step], repeats: bool = False, chosen: Container[str] = ()) -> list[Segment]:
    """Segments in program order; glue between two blocks is one segment.

    With `repeats`, glue that computes the same thing several times (what a model does between two
    decoder layers) gets keys of its own, and so becomes a function as well. So do the
    `chosen` segments of the other glue: `segment.1`, `segment.2`, …, between which few values go.
    """
    merged: list[tuple[str, list[Step]]] = []
    for block, run, counted in _runs(steps):
        block = block if counted >= SMALLEST else ""
        if merged and not block and not merged[-1][0]:
            merged[-1][1].extend(run)
        else:
            merged.append((block, run))
    segments = list(_keyed(merged))
    if not repeats:
        return segments
    return list(_name_glue(_name_repeats(segments), chosen))


def _runs(steps: Sequence[Step]) -> Iterator[tuple[str, list[Step], int]]:
    """Runs of steps of one block, and how many of each a call without ledger takes: where runs end
    does not depend on what is there for the ledger alone."""
    alone = _for_ledger(steps)
    block, run, counted = "", list[Step](), 0
    waiting: list[Step] = []  # for the ledger, perhaps of the run to come
    for i, step in enumerate(steps):
        own = block_of(step.origin.module)
        if i in alone:
            (waiting if waiting or own != block else run).append(step)
            continue
        if own != block and (run or waiting):
            first = next(
                (n for n, s in enumerate(waiting) if block_of(s.origin.module) == own), None
            )
            before = waiting if first is None else waiting[:first]
            if run or before:
                yield block, [*run, *before], counted
            run, counted, waiting = waiting[len(before) :], 0, []
        block, run, waiting = own, [*run, *waiting, step], []
        counted += 1
    if run or waiting:
        yield block, [*run, *waiting], counted


def _for_ledger(steps: Sequence[Step]) -> set[int]:
    """The steps, by index, that are there for rows of the ledger alone."""
    if not any(isinstance(step, Book) for step in steps):
        return set()
    found, read = set[int](), set[str]()
    for i, step in reversed(list(enumerate(steps))):
        if isinstance(step, Read) or any(v.name in read for v in step.outputs):
            read |= {x.name for x in step.inputs if isinstance(x, Value)}
        else:
            found.add(i)
    return found


def _name_repeats(segments: Sequence[Segment]) -> list[Segment]:
    shapes = [_shape(s.steps) if not s.key and len(s.steps) >= SMALLEST else None for s in segments]
    counts = Counter(shape for shape in shapes if shape is not None)
    found, names = list[Segment](), _free("between", segments)
    for segment, shape in zip(segments, shapes, strict=True):
        if shape is not None and counts[shape] > 1:
            segment = replace(segment, key=next(names))
        found.append(segment)
    return found


def _name_glue(segments: Sequence[Segment], chosen: Container[str]) -> Iterable[Segment]:
    names = _free("segment", segments)
    for segment in segments:
        if segment.key:
            yield segment
            continue
        glue: list[Step] = []
        for steps in _cut_glue(segment.steps):
            key = next(names)
            if len(steps) < GLUE[0] or key not in chosen:
                glue += steps
                continue
            if glue:
                yield replace(segment, steps=tuple(glue))
            yield replace(segment, key=key, steps=tuple(steps))
            glue = []
        if glue:
            yield replace(segment, steps=tuple(glue))


def _free(word: str, segments: Sequence[Segment]) -> Iterator[str]:
    """`word.1`, `word.2`, … but for those that a block of the model has for its path."""
    taken = {segment.key for segment in segments}
    return (key for n in count(1) if (key := f"{word}.{n}") not in taken)


def _cut_glue(steps: Sequence[Step]) -> Iterable[Sequence[Step]]:
    """Glue cut where the fewest of its values are read further on, of equals the earliest."""
    last = {_name(x): i for i, step in enumerate(steps) for x in step.inputs}
    made = {v.name: i for i, step in enumerate(steps) for v in step.outputs}
    read_later = [0] * len(steps)
    for name, i in made.items():
        for at in range(i, last.get(name, i)):
            read_later[at] += 1
    fewest, most = GLUE
    start = 0
    while len(steps) - start > most:
        ends = range(start + fewest - 1, start + most)
        end = min(ends, key=lambda at: read_later[at]) + 1
        yield steps[start:end]
        start = end
    yield steps[start:]


def _shape(steps: Sequence[Step]) -> tuple[object, ...]:
    """What the steps compute, whatever their values are called."""
    names: dict[str, int] = {}

    def numbers(values: Sequence[Operand]) -> tuple[int, ...]:
        return tuple(names.setdefault(_name(v), len(names)) for v in values)

    return tuple(
        (
            *(type(step), step.op if isinstance(step, Compute) else "", numbers(step.inputs)),
            *(numbers(step.outputs), step.attrs if isinstance(step, Compute) else ()),
            step.origin,
        )
        for step in steps
    )


def _name(operand: Operand) -> str:
    return operand.entry.name if isinstance(operand, Load) else operand.name


def _keyed(runs: Iterable[tuple[str, list[Step]]]) -> Iterator[Segment]:
    seen: dict[str, int] = {}
    for block, run in runs:
        count = seen[block] = seen.get(block, 0) + 1
        key = block if not block or count == 1 else f"{block}#{count}"
        yield Segment(key, block, tuple(run))
