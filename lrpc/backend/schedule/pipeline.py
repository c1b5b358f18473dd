"""From graphs to the schedule of a program, pass by pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from lrpc.backend.schedule.blocks import blocks
from lrpc.backend.schedule.build import build, needed_names
from lrpc.backend.schedule.chunk import chunk
from lrpc.backend.schedule.free import free
from lrpc.backend.schedule.in_place import in_place
from lrpc.backend.schedule.ir import Function, Schedule
from lrpc.backend.schedule.outline import outline
from lrpc.backend.schedule.recompute import Kept, recompute
from lrpc.codegen.interface import TargetCode
from lrpc.ir.graph import Graph

Watch = Callable[[str, Schedule], None]


@dataclass
class Scheduler:
    """Makes the schedules of one program: which blocks are computed again and what they keep, and
    whether seeds go through blocks in chunks, is up to each."""

    forward: Graph
    targets: Sequence[TargetCode]
    _blocks: dict[object, Schedule] = field(default_factory=dict)

    @cached_property
    def flat(self) -> Schedule:
        """The schedule before all passes."""
        return build(self.forward, self.targets)

    @cached_property
    def needed(self) -> frozenset[str]:
        """The values of the forward pass that relevance reads."""
        return needed_names(self.flat)

    def schedule(self, kept: Kept, chunked: bool, watch: Watch | None = None) -> Schedule:
        """The schedule of the program; `watch` sees it after every pass."""
        return self._passes(self.flat, kept, chunked, "", watch)

    def part(self, kept: Kept, chunked: bool, target: int, ledger: bool) -> Schedule:
        """The forward pass and one function of one target; the other functions are empty."""
        targets = [
            replace(
                t,
                plain=t.plain if i == target and not ledger else _empty(t.plain),
                booked=t.booked if i == target and ledger else _empty(t.booked),
            )
            for i, t in enumerate(self.flat.targets)
        ]
        flat = replace(self.flat, targets=tuple(targets))
        return self._passes(flat, kept, chunked, (target, ledger))

    def _passes(
        self,
        found: Schedule,
        kept: Kept,
        chunked: bool,
        which: object,
        watch: Watch | None = None,
    ) -> Schedule:
        key = (which, frozenset(key for key in kept if key.startswith("stretch.")))
        if key not in self._blocks:
            self._blocks[key] = blocks(found, kept)
        steps: list[tuple[str, Callable[[Schedule], Schedule]]] = [
            ("blocks", lambda _: self._blocks[key]),
            ("recompute", lambda s: recompute(s, kept, self.needed)),
            ("in_place", in_place),
            ("free", free),
            *([("chunk", chunk)] if chunked else []),
            ("outline", lambda s: outline(s, named=not which)),
        ]
        if watch is not None:
            watch("build", found)
        for name, step in steps:
            found = step(found)
            if watch is not None:
                watch(name, found)
        return found


def _empty(function: Function) -> Function:
    return replace(function, body=())
