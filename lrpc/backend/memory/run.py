"""The memory of whole calls: a forward pass, then one target's relevance from its state."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from lrpc.backend.interface import TargetCode
from lrpc.backend.memory.effect import Strided, effect_of
from lrpc.backend.memory.effects import Effects
from lrpc.backend.memory.log import OUTSIDE, Frame, Given, Log, Storage, frame
from lrpc.backend.memory.simulate import Machine
from lrpc.backend.schedule.build import Reading
from lrpc.backend.schedule.ir import Function, Part, Schedule
from lrpc.backend.schedule.kept import Kept
from lrpc.backend.schedule.pipeline import Scheduler
from lrpc.ir.graph import Graph, Value
from lrpc.ir.magnitudes import source

FINITE = "torch.stack(x[0].aminmax()).isfinite().all()"  # what loading.check_finite allocates


@dataclass(frozen=True)
class Timeline:
    """What a call of `forward` and then of `relevance` allocates, over steps.

    Steps before `turn` are the forward pass. Relevance adds `tables` to the state for good.
    Weights and inputs are not among the storages: their owner holds them.
    """

    storages: tuple[Storage, ...]
    turn: int
    modules: tuple[str, ...]  # of each step
    tables: Mapping[tuple[str, str], int] = field(default_factory=dict)  # bytes

    @cached_property
    def live(self) -> list[int]:
        """Live bytes at each step."""
        return self._bytes(self.storages)

    @cached_property
    def work(self) -> list[int]:
        """Bytes at each step that are held inside one operation."""
        return self._bytes(s for s in self.storages if s.part == "workspace")

    def after_others(self, tables: int) -> list[int]:
        """Live bytes at each step where earlier calls have added `tables` bytes to the state."""
        added = (s for s in self.storages if s.part == "state" and s.start >= self.turn)
        both = zip(self.live, self._bytes(added), strict=True)
        found = [live + max(0, tables - own) for live, own in both]
        return [*self.live[: self.turn], *found[self.turn :]]

    def _bytes(self, storages: Iterable[Storage]) -> list[int]:
        change = [0] * (len(self.modules) + 1)
        for s in storages:
            change[s.start] += s.size
            change[s.end] -= s.size
        return list(accumulate(change))[:-1]

    @property
    def peak(self) -> int:
        """The most bytes held at once."""
        return max(self.live)

    @property
    def forward_peak(self) -> int:
        """The most bytes that `forward` has allocated at once."""
        return max(self.live[: self.turn])

    @property
    def relevance_peak(self) -> int:
        """The most bytes that `relevance` has allocated at once, beyond what it found."""
        before = sum(s.size for s in self.storages if s.start < self.turn and s.end > self.turn)
        return max(self.live[self.turn :], default=before) - before

    @property
    def state(self) -> int:
        """Bytes that the state keeps."""
        return sum(s.size for s in self.storages if s.part == "state")


@dataclass
class Common:
    """What the configurations of one program have in common, worked out once."""

    scheduler: Scheduler | None = None
    weights: dict[str, Strided] = field(default_factory=dict)


@dataclass
class Model:
    """A program as its memory sees it: the graph, the code of its targets, and how many seeds go
    through a block at once.

    Relevance recomputes the blocks named in `recomputed`, but for what they keep. `per_pass` seeds
    go from block to block together, of which `chunk` at once through a block; where it is 0,
    `chunk` seeds go through all blocks.
    """

    graph: Graph
    codes: Sequence[TargetCode]
    chunk: int
    recomputed: Kept = field(default_factory=dict)
    per_pass: int = 0
    effects: Effects = field(default_factory=Effects)
    common: Common = field(default_factory=Common)
    sizes: Mapping[str, int] = field(default_factory=dict)  # of images; others as in the example

    @property
    def scheduler(self) -> Scheduler:
        """What makes its schedules."""
        if self.common.scheduler is None:
            self.common.scheduler = Scheduler(self.graph, self.codes)
        return self.common.scheduler

    @property
    def reading(self) -> Reading:
        """The nodes that it runs."""
        return self.scheduler.reading

    @property
    def weights(self) -> Mapping[str, Strided]:
        """The layouts of its weights."""
        found = self.common.weights
        if not found:
            graphs = (g for code in self.codes for g in (code.plain, code.with_ledger))
            for graph in (*graphs, self.graph):
                found.update((name, Strided.contiguous(kind, {})) for name, kind in graph.weights)
        return found

    @property
    def weight_bytes(self) -> int:
        """What its weights hold."""
        return sum(kind.bytes for name, kind in self.weights.items() if not source(name))

    @property
    def schedule(self) -> Schedule:
        """What it runs."""
        return self.scheduler.schedule(self.recomputed, self.per_pass > 0)

    def part(self, target: int) -> Schedule:
        """The schedule of the forward pass and a target, at least."""
        return self.scheduler.part(self.recomputed, self.per_pass > 0, target)

    def forward(self, batch: int, apart: bool = False) -> Log:
        """The log after `forward` on `batch` images; with `apart`, as if each result had memory of
        its own, and were not written over an operand."""
        schedule = self.part(0)
        own = {size.name: size.example for size in self.graph.sizes} | dict(self.sizes)
        log, function = Log({"B": batch, **own}), schedule.forward
        machine = Machine(schedule, self.effects, self.weights, log, apart=apart)
        with frame(log, Part("saved")) as main:
            for value in self.graph.inputs:
                kind = Strided.contiguous(value.type, log.sizes)
                main.names[value.name] = log.where[value.name] = (kind, OUTSIDE)
                check(log, kind, value.name)
            if schedule.sizes is not None:
                self._of_sizes(schedule.sizes, machine, main)
            machine.body(function.body, main)
            for name in dict.fromkeys(v.name for v in function.results):
                _, storage = main.names[name]
                log.hold(storage)
                if storage != OUTSIDE and log.held[storage].part == "value":
                    log.held[storage].part = "output"
        for name, value in self.graph.outputs:
            check(log, log.where[value.name][0], name)
        return log

    def _of_sizes(self, function: Function, machine: Machine, main: Frame) -> None:
        """What depends on sizes alone, which the program keeps."""
        log = machine.log
        with frame(log, Part("saved")) as own:
            machine.body(function.body, own)
            for value in function.results:
                kind, storage = main.names[value.name] = own.names[value.name]
                log.where[value.name] = (kind, storage)
                log.hold(storage)
                if storage != OUTSIDE:
                    log.held[storage].part = "state"

    def timeline(
        self, target: int, seeds: int, after: Log, ledger: bool = False, brief: bool = False
    ) -> Timeline:
        """`forward` as `after` has it, then relevance of one target (by index) with `seeds`. Where
        it is `brief`, blocks take the first two chunks of seeds alone: the others are like the
        second."""
        log, code = after.copy(), self.codes[target]
        turn = log.step
        step, joined = self.per_pass or self.chunk, _Joined(log, seeds)
        log.hold(log.allocate(8 * seeds * len(code.index_axes), "seed", "at"))  # indices
        for first in range(0, seeds, step):
            log.sizes["K"] = min(step, seeds - first)
            reads, amounts = self._relevance(log, target, ledger, brief)
            joined.add(reads, amounts)
        tables = {
            (scope, name): sum(
                kind.bytes for key, kinds in parts.items() if key not in before for kind in kinds
            )
            for scope, shelf in log.state.items()
            for name, parts in shelf.tables.items()
            for before in [_before(after, scope, name)]
        }
        return Timeline(log.storages(), turn, tuple(log.modules), tables)

    def _relevance(
        self, log: Log, target: int, ledger: bool, brief: bool
    ) -> tuple[list[Given], list[Given]]:
        """One run of a target's function: the relevance that it hands out, and the amounts."""
        schedule = self.part(target)
        own = schedule.targets[target]
        function, value = own.with_ledger if ledger else own.plain, self.codes[target].value
        seed, *masks = function.parameters
        kind = Strided.contiguous(seed.type, log.sizes)
        start = log.allocate(kind.bytes, "seed", value.name)
        log.hold(start)
        starts = {seed.name: (kind, start)}
        for mask in masks:
            kind = Strided.contiguous(mask.type, log.sizes)
            starts[mask.name] = (kind, log.allocate(kind.bytes, "seed", mask.name))
            log.hold(starts[mask.name][1])
        log.work(_starting(value, log.sizes), "start")
        log.advance()
        chunk = self.chunk if self.per_pass else 0
        machine = Machine(
            *(schedule, self.effects, self.weights, log, chunk, brief),
            ledger=ledger,
            label="adjoint",
        )
        with frame(log, Part("saved")) as main:
            main.names.update(starts)
            machine.body(function.body, main)
        reads = [given for given in machine.given if given.place]
        for given in reads:
            log.held[given.storage].part = "result"
            check(log, given.kind, given.place)
        for _, storage in starts.values():
            log.drop(storage, log.step)
        return reads, [given for given in machine.given if not given.place]


def _before(log: Log, scope: str, name: str) -> Mapping[str, object]:
    return log.state[scope].tables.get(name, {}) if scope in log.state else {}


def check(log: Log, kind: Strided, name: str) -> None:
    """A `check_finite` of a value."""
    if kind.dtype.is_floating_point:
        log.work(effect_of(FINITE, (kind,)).most, f"check {name}")
    log.advance()


def _starting(value: Value, sizes: Mapping[str, int]) -> int:
    """What is held beside G while it is made of given relevance, and normalised: where that is 0,
    and two tensors like the target's value."""
    one = Strided.contiguous(value.type, sizes)
    return math.prod(one.shape) * sizes["K"] + 2 * one.bytes


@dataclass
class _Joined:
    """Passes put together along the seeds, as `runtime/result_buffers.py` does."""

    log: Log
    seeds: int
    whole: bool = False

    def add(self, reads: Sequence[Given], amounts: Sequence[Given]) -> None:
        """What a pass found goes into room for all of it."""
        log, every = self.log, (*reads, *amounts)
        if log.sizes["K"] == self.seeds:
            return
        if not self.whole:
            for given in every:
                size = log.held[given.storage].size // log.sizes["K"] * self.seeds
                log.hold(log.allocate(size, "result", given.place))
            self.whole = True
        log.work(sum(log.held[given.storage].size for given in amounts), "amounts")
        log.advance()
        for given in every:
            log.drop(given.storage, log.step)
