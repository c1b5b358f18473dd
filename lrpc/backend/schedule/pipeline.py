"""From graphs to the schedule of a program, pass by pass."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from lrpc.backend.interface import TargetCode
from lrpc.backend.schedule.applications import applications
from lrpc.backend.schedule.blocks import blocks
from lrpc.backend.schedule.build import Reading, build, reading
from lrpc.backend.schedule.chunk import chunk
from lrpc.backend.schedule.free import free
from lrpc.backend.schedule.in_place import in_place
from lrpc.backend.schedule.ir import Function, Schedule
from lrpc.backend.schedule.join import join
from lrpc.backend.schedule.kept import Kept, kept_and_made, read_again
from lrpc.backend.schedule.outline import outline
from lrpc.backend.schedule.recompute import recompute
from lrpc.backend.schedule.rows import rows
from lrpc.backend.schedule.tails import tails
from lrpc.ir.graph import Graph

Which = int | None  # a target, None for all of them
Watch = Callable[[str, Schedule], None]
Stages = list[tuple[str, Schedule]]  # what each pass made, by its name


@dataclass
class Scheduler:
    """Makes the schedules of one program: which blocks are computed again and what they keep, and
    whether seeds go through blocks in chunks, is up to each."""

    forward: Graph
    targets: Sequence[TargetCode]
    whole: bool = False  # whether parts are those of the program, whose targets share ends
    _blocks: dict[object, tuple[Schedule, Schedule]] = field(default_factory=dict)
    _last: tuple[object, dict[Which, Stages]] = (None, {})

    @cached_property
    def flat(self) -> Schedule:
        """The schedule before all passes."""
        return build(self.forward, self.targets, self.reading)

    @cached_property
    def reading(self) -> Reading:
        """The nodes that the program runs, and what relevance reads of the forward pass."""
        return reading(self.forward, self.targets)

    def blocks(self, chosen: Container[str] = ()) -> Schedule:
        """The schedule with its blocks, and the `chosen` segments of glue as blocks."""
        return blocks(self.flat, chosen)

    def read_again(self, kept: Kept) -> set[str]:
        """The values that have to be there to compute blocks again."""
        return read_again(self.blocks(kept), kept, self.reading.needed) if kept else set()

    def kept_and_made(self, kept: Kept) -> dict[str, tuple[list[str], list[str]]]:
        """Of each block that is computed again: the names in the state of what it keeps, and of
        what relevance makes."""
        return kept_and_made(self.blocks(kept), kept, self.reading.needed) if kept else {}

    def schedule(self, kept: Kept, chunked: bool, watch: Watch | None = None) -> Schedule:
        """The schedule of the program; `watch` sees it after every pass."""
        known = self._of(kept, chunked)
        if None not in known:
            known[None] = self._stages(self.flat, kept, chunked, None)
        if watch is not None:
            for name, found in known[None]:
                watch(name, found)
        return known[None][-1][1]

    def part(self, kept: Kept, chunked: bool, target: int) -> Schedule:
        """The forward pass and one target at least; the others may be empty."""
        known = self._of(kept, chunked)
        if self.whole or None in known:
            return self.schedule(kept, chunked)
        if target not in known:
            targets = (
                t if i == target else t.changed(_empty) for i, t in enumerate(self.flat.targets)
            )
            flat = replace(self.flat, targets=tuple(targets))
            known[target] = self._stages(flat, kept, chunked, target)[-1:]
        return known[target][-1][1]

    def _of(self, kept: Kept, chunked: bool) -> dict[Which, Stages]:
        """The schedules so far of the program that runs so; those of the last one alone."""
        key = (tuple((k, tuple(names)) for k, names in kept.items()), chunked)
        if self._last[0] != key:
            self._last = (key, {})
        return self._last[1]

    def _stages(self, found: Schedule, kept: Kept, chunked: bool, which: Which) -> Stages:
        key = (which, frozenset(key for key in kept if key.startswith("segment.")))
        if key not in self._blocks:
            cut = blocks(found, kept)
            self._blocks[key] = (cut, rows(cut))
        # A caller holds what it hands a rule until the call is over: under a budget, memory counts.
        steps: list[tuple[str, Callable[[Schedule], Schedule]]] = [
            ("blocks", lambda _: self._blocks[key][0]),
            ("rows", lambda _: self._blocks[key][1]),
            ("recompute", lambda s: recompute(s, kept, self.reading.needed)),
            ("in_place", in_place),
            *([("chunk", chunk)] if chunked else []),
            ("join", join),
            ("free", free),
            *([("applications", applications)] if not kept else []),
            ("outline", lambda s: outline(s, named=which is None)),
            *([("tails", tails)] if which is None else []),
        ]
        stages = [("build", found)]
        for name, step in steps:
            stages.append((name, step(stages[-1][1])))
        return stages


def _empty(function: Function) -> Function:
    return replace(function, body=())
