"""The memory of whole calls: a forward pass, then one target's relevance from its state."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate

from lrpc.backend.interface import TargetCode
from lrpc.backend.keeping import Place
from lrpc.backend.memory.effect import Effects, Strided
from lrpc.backend.memory.mains import Given, Main, frame
from lrpc.backend.memory.tape import OUTSIDE, Storage, Tape
from lrpc.backend.program import Halves, Reading, halves, reading
from lrpc.backend.recompute import Again
from lrpc.ir.graph import Graph, Node, Value


@dataclass(frozen=True)
class Timeline:
    """What a call of `forward` and then of `relevance` allocates, over steps.

    Steps before `turn` are the forward pass. Relevance adds `tables` to the state for good.
    Weights and inputs are not among the storages: their owner holds them.
    """

    storages: tuple[Storage, ...]
    turn: int
    modules: tuple[str, ...]  # of each step
    tables: Mapping[Place, int] = field(default_factory=dict)  # bytes

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
    """What the ways to run one program have in common, worked out once."""

    read: Reading | None = None
    weights: dict[str, Strided] = field(default_factory=dict)


@dataclass
class Model:
    """A program as its memory sees it: the graph, the code of its targets, and how many seeds go
    through a block at once.

    Relevance computes the blocks named in `again` anew, but for what they keep. With `sweep`, so
    many seeds go from block to block together; else `chunk` all the way.
    """

    graph: Graph
    codes: Sequence[TargetCode]
    chunk: int
    again: Again = field(default_factory=dict)
    sweep: int = 0
    effects: Effects = field(default_factory=Effects)
    common: Common = field(default_factory=Common)

    @cached_property
    def halves(self) -> Halves:
        if self.common.read is None:
            self.common.read = reading(self.graph, self.codes)
        return halves(self.graph, self.codes, self.again, self.common.read)

    @property
    def weights(self) -> Mapping[str, Strided]:
        found = self.common.weights
        if not found:
            for graph in (g for code in self.codes for g in (code.plain, code.booked)):
                found.update((name, Strided.contiguous(kind, {})) for name, kind in graph.weights)
            found.update((n, Strided.contiguous(kind, {})) for n, kind in self.graph.weights)
        return found

    def forward(self, batch: int, apart: bool = False) -> Tape:
        """The tape after `forward` on `batch` images; with `apart`, as if each result had memory of
        its own, and were not written over an operand."""
        tape = Tape(self.effects, self.weights, {"B": batch}, apart=apart)
        kept = [v.name for _, v in self.graph.outputs]
        with frame(tape) as main:
            for value in self.graph.inputs:
                tape.where[value.name] = (Strided.contiguous(value.type, {"B": batch}), OUTSIDE)
                tape.check(tape.where[value.name], value.name)
            Main(tape, self.halves.saved, True, 0, main).run(self.halves.forward, kept)
            for name in dict.fromkeys(kept):
                _, storage = tape.where[name]
                tape.hold(storage)
                if storage != OUTSIDE and tape.held[storage].part == "value":
                    tape.held[storage].part = "output"
        for name, value in self.graph.outputs:
            tape.check(tape.where[value.name], name)
        return tape

    def timeline(
        self, target: int, seeds: int, after: Tape, ledger: bool = False, brief: bool = False
    ) -> Timeline:
        """`forward` as `after` has it, then relevance of one target (by index) with `seeds`. Where
        it is `brief`, blocks take the first two chunks of seeds alone: the others are like the
        second."""
        code, nodes = self.codes[target], self.halves.relevance[target][int(ledger)]
        tape = replace(
            after,
            held=[h.copy() for h in after.held],
            where=dict(after.where),
            sizes=dict(after.sizes),
            modules=list(after.modules),
            kept={place: dict(parts) for place, parts in after.kept.items()},
            shelves={},
        )
        turn = tape.step
        value, joint = code.value, code.plain
        seed = joint.inputs[-1]
        step, joined = self.sweep or self.chunk, Joined(tape, seeds)
        tape.hold(tape.allocate(8 * seeds * len(code.index_axes), "seed", "at"))  # indices
        for first in range(0, seeds, step):
            tape.sizes["K"] = min(step, seeds - first)
            kind = Strided.contiguous(seed.type, tape.sizes)
            start = tape.allocate(kind.bytes, "seed", value.name)
            tape.hold(start)
            tape.work(_starting(value, tape.sizes), "start")
            tape.advance()
            tape.where[seed.name] = (kind, start)
            found = self._sweep(tape, nodes, brief)
            tape.drop(start, tape.step)
            joined.add(*found)
        tables = {
            place: sum(
                k.bytes for name, kinds in parts.items() if name not in before for k in kinds
            )
            for place, parts in tape.kept.items()
            for before in [after.kept.get(place, {})]
        }
        return Timeline(tape.storages(), turn, tuple(tape.modules), tables)

    def _sweep(self, tape: Tape, nodes: Sequence[Node], brief: bool) -> tuple[Given, Given]:
        """One run of a target's function: the relevance that it hands out, and the amounts."""
        with frame(tape) as main:
            chunk = self.chunk if self.sweep else 0
            given = Main(tape, self.halves.saved, False, chunk, main, brief=brief).run(nodes, [])
        handing = [n for n in nodes if not n.outputs]
        reads: Given = []
        amounts: Given = []
        kinds = [tape.where[n.inputs[0].name][0] for n in handing if n.op == "read"]
        for node, (name, storage) in zip(handing, given, strict=True):
            if node.op == "read":
                tape.held[storage].part = "result"
                tape.check((kinds[len(reads)], storage), name)
                reads.append((name, storage))
            else:
                amounts.append((name, storage))
        return reads, amounts


def _starting(value: Value, sizes: Mapping[str, int]) -> int:
    """What is held beside G while it is made of given relevance, and normalised: where that is 0,
    and two tensors like the target's value."""
    one = Strided.contiguous(value.type, sizes)
    return math.prod(one.shape) * sizes["K"] + 2 * one.bytes


@dataclass
class Joined:
    """Sweeps put together along the seeds, as `kernels/rooms.py` does."""

    tape: Tape
    seeds: int
    whole: bool = False

    def add(self, reads: Given, amounts: Given) -> None:
        """What a sweep found goes into room for all of it."""
        tape = self.tape
        if tape.sizes["K"] == self.seeds:
            return
        if not self.whole:
            for name, storage in (*reads, *amounts):
                size = tape.held[storage].size // tape.sizes["K"] * self.seeds
                tape.hold(tape.allocate(size, "result", name))
            self.whole = True
        tape.work(sum(tape.held[storage].size for _, storage in amounts), "amounts")
        tape.advance()
        for _, storage in (*reads, *amounts):
            tape.drop(storage, tape.step)
