"""Which blocks relevance computes again, and how many seeds it takes at a time, under a budget.

Candidates are priced by simulating the program that they make (`Model`), so the bytes are exact;
of those within the budget the cheapest is taken, by an estimate of the work it costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lrpc.codegen.segments import Every, Segment, cut
from lrpc.errors import ConfigError
from lrpc.ir.graph import Node
from lrpc.ir.types import Sym
from lrpc.memory.run import Model
from lrpc.memory.tape import Tape
from lrpc.memory.work import work_of

TRIED = 12  # blocks that are left out again, one at a time, the costliest first


@dataclass(frozen=True)
class Choice:
    """How a program runs: the blocks to compute again, the seeds that go through a block at once
    and from block to block.

    `peak` is the most bytes that forward and relevance of any target hold at once for one image and
    `seeds` seeds, weights and inputs apart; `free` is the same with nothing computed again and all
    these seeds at once; `more` is the estimated work beyond that, as a share.
    """

    again: tuple[str, ...]
    chunk: int
    sweep: int
    seeds: int
    peak: int
    free: int
    budget: int
    more: float

    def to_json(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return {
            "again": list(self.again),
            "chunk": self.chunk,
            "sweep": self.sweep,
            "seeds": self.seeds,
            "peak": self.peak,
            "free_peak": self.free,
            "budget": self.budget or None,
            "extra_work": round(self.more, 4),
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Choice:
        """A choice as a manifest holds it."""
        return Choice(
            tuple(data["again"]),
            data["chunk"],
            data["sweep"],
            data["seeds"],
            data["peak"],
            data["free_peak"],
            data["budget"] or 0,
            data["extra_work"],
        )

    def of(self, model: Model) -> Model:
        """The model of the program that runs so."""
        return replace(model, again=self.again, chunk=self.chunk, sweep=self.sweep)


@dataclass(frozen=True)
class Candidate:
    """A block that relevance may compute again: its work, and the bytes that it need not keep."""

    key: str
    work: float
    saves: int


def choose(model: Model, checkpoint: str, budget: str | int) -> Choice:
    """The cheapest way to run a program of `model`, all of whose seeds go through a block at once.

    `checkpoint` is `none` (nothing is computed again), `block` (all that saves anything is) or
    `auto` (what the budget asks for); `budget` is a number of bytes, a share of what the program
    holds with nothing computed again ("50%"), or "" for no limit. Raises ConfigError that names the
    smallest budget that can be met.
    """
    search = _Search(model, checkpoint)
    free = search.peak((), model.chunk, model.chunk)
    limit = _limit(budget, free)
    if not limit:
        again = search.every if checkpoint == "block" else ()
        return search.choice(again, model.chunk, model.chunk, free, 0)
    while True:
        found = search.within(limit)
        if found is None:
            least = min(search.peak(search.every, 1, sweep) for sweep in {1, model.chunk})
            raise ConfigError(_too_small(budget, limit, free, least, checkpoint))
        if search.peak(*found) <= limit:
            return search.choice(*found, free, limit)
        search.watch(found)  # another target needs more there


def _steps(seeds: int) -> list[tuple[int, int]]:
    """Seeds through a block at once and from block to block, in the order in which to try them."""
    chunks = sorted({max(1, seeds // part) for part in (1, 2, 4, seeds)}, reverse=True)
    return [(chunk, sweep) for chunk in chunks for sweep in dict.fromkeys((chunk, seeds))]


def _limit(budget: str | int, free: int) -> int:
    if isinstance(budget, str) and budget.endswith("%"):
        return free * int(budget[:-1]) // 100
    return int(budget) if budget else 0


def _too_small(budget: str | int, limit: int, free: int, least: int, checkpoint: str) -> str:
    asked = f"{budget}, {limit:,} bytes," if str(budget).endswith("%") else f"{limit:,} bytes"
    hint = "" if checkpoint == "auto" else "; LRPC.MEMORY.CHECKPOINT auto may need less"
    return (
        f"LRPC.MEMORY.BUDGET: {asked} cannot be met for one image; the smallest budget that this"
        f" program can meet is {least:,} bytes ({math.ceil(100 * least / free)}%){hint}"
    )


def candidates(model: Model) -> list[Candidate]:
    """The blocks of the forward pass that keep something for relevance alone, cheapest bytes
    first."""
    plain = replace(model, again=(), sweep=0)
    segments = cut(plain.halves.forward, repeats=True, stretches=Every())
    every = replace(plain, again=tuple(s.key for s in segments if s.key))
    dropped = {
        name
        for name, place in every.halves.saved.places.items()
        if name in plain.halves.saved.needed and every.halves.saved.again.drops(name, place)
    }
    held: dict[str, int] = {}
    for storage in plain.forward(1).storages():
        if storage.part == "state":
            held[storage.name] = held.get(storage.name, 0) + storage.size
    found = []
    for segment in segments:
        saves = sum(held.get(v.name, 0) for v in segment.made() if v.name in dropped)
        if segment.key and saves:
            found.append(Candidate(segment.key, _work(plain, segment), saves))
    return sorted(found, key=lambda c: c.work / c.saves)


def _work(model: Model, segment: Segment) -> float:
    return sum(work_of(node, model.weights, {"B": 1, "K": 1}) for node in segment.nodes)


Way = tuple[tuple[str, ...], int, int]  # blocks computed again, seeds at once, seeds in a sweep


def _run(way: Way) -> int:
    """The seeds from block to block, 0 where all that are in a sweep go through a block at once."""
    again, chunk, sweep = way
    return sweep if again or sweep > chunk else 0


class _Search:
    """Peaks and prices of the ways to run one program, each simulated once.

    `watched` are the targets that decide; the others are looked at where something is found.
    """

    def __init__(self, model: Model, checkpoint: str) -> None:
        self.model, self.checkpoint = model, checkpoint
        self.seeds = model.chunk
        self.blocks = candidates(model) if checkpoint != "none" else []
        self.every = tuple(c.key for c in self.blocks)
        self.work = {c.key: c.work for c in self.blocks}
        self.seen: dict[tuple[Way, int], int] = {}
        self.programs: dict[Way, tuple[Model, Tape]] = {}
        sizes = {"B": 1, "K": 1}
        self.forward = sum(work_of(n, model.weights, sizes) for n in model.halves.forward)
        works = [self._relevance(part) for part, _ in model.halves.relevance]
        self.of_seeds, self.once = max(works, key=sum)
        self.watched: list[int] = []
        self.watch(((), model.chunk, model.chunk))

    def _relevance(self, nodes: Sequence[Node]) -> tuple[float, float]:
        """The work of a relevance pass for each seed, and for all of them."""
        sizes, each, once = {"B": 1, "K": 1}, 0.0, 0.0
        for node in nodes:
            own = work_of(node, self.model.weights, sizes)
            if any(isinstance(d, Sym) and d.seeds for v in node.outputs for d in v.type.shape):
                each += own
            else:
                once += own
        return each, once

    def watch(self, way: Way) -> None:
        """Let the target that needs most there decide as well."""
        targets = range(len(self.model.codes))
        self.watched.append(max(targets, key=lambda target: self._peak(way, target)))

    def peak(self, *way: Any) -> int:
        """The most bytes held at once, for any target."""
        return max(self._peak(way, target) for target in range(len(self.model.codes)))

    def _peak(self, way: Way, target: int) -> int:
        again, chunk, _ = way
        if (way, target) not in self.seen:
            if way not in self.programs:
                model = replace(self.model, again=again, chunk=chunk, sweep=_run(way))
                self.programs = {way: (model, model.forward(1))}  # the last one alone
            model, after = self.programs[way]
            self.seen[way, target] = model.timeline(target, self.seeds, after).peak
        return self.seen[way, target]

    def _fits(self, way: Way, limit: int) -> bool:
        return all(self._peak(way, target) <= limit for target in self.watched)

    def within(self, limit: int) -> Way | None:
        """The cheapest way whose watched targets keep the limit; None if there is none."""
        found: list[Way] = []
        for chunk, sweep in _steps(self.seeds):
            best = min(map(self.more, found), default=math.inf)
            if self.more(((), chunk, sweep)) >= best:
                continue  # even with nothing computed again
            again = self._fewest(chunk, sweep, limit)
            if again is not None:
                found.append((again, chunk, sweep))
        if not found:
            return None
        best_way = min(found, key=lambda way: (self.more(way), -way[1]))
        if self.checkpoint == "block":
            return best_way
        return self._with_cheaper(self._without_needless(best_way, limit), limit)

    def _fewest(self, chunk: int, sweep: int, limit: int) -> tuple[str, ...] | None:
        """As many blocks, cheapest bytes first, as the limit asks for; None where all of them are
        not enough."""
        if self.checkpoint == "block":
            return self.every if self._fits((self.every, chunk, sweep), limit) else None
        if self._fits(((), chunk, sweep), limit):
            return ()
        if not self._fits((self.every, chunk, sweep), limit):
            return None
        low, high = 1, len(self.every)
        while low < high:
            middle = (low + high) // 2
            if self._fits((self.every[:middle], chunk, sweep), limit):
                high = middle
            else:
                low = middle + 1
        return self.every[:low]

    def _without_needless(self, way: Way, limit: int) -> Way:
        """Less the blocks that turn out not to be needed, the costliest first."""
        again, chunk, sweep = way
        for key in self._costliest(again)[:TRIED]:
            rest = tuple(k for k in again if k != key)
            if self._fits((rest, chunk, sweep), limit):
                again = rest
        return again, chunk, sweep

    def _with_cheaper(self, way: Way, limit: int) -> Way:
        """With cheaper blocks in the place of others, the costliest first, where that will do."""
        again, chunk, sweep = way
        left = TRIED
        for key in self._costliest(again):
            rest = {k for k in again if k != key}
            others = [k for k in self.every if self.work[k] < self.work[key] and k not in again]
            for other in sorted(others, key=self.work.__getitem__)[:left]:
                left -= 1
                swapped = tuple(k for k in self.every if k in rest or k == other)
                if self._fits((swapped, chunk, sweep), limit):
                    again = swapped
                    break
        return again, chunk, sweep

    def _costliest(self, again: tuple[str, ...]) -> list[str]:
        return sorted(again, key=self.work.__getitem__, reverse=True)

    def more(self, way: Way) -> float:
        """The estimated work beyond that of all seeds at once with nothing computed again, as a
        share of it."""
        again, chunk, sweep = way
        sweeps, chunks = math.ceil(self.seeds / sweep), math.ceil(self.seeds / chunk)
        alone = self.forward + self.once + self.seeds * self.of_seeds
        extra = sweeps * sum(self.work[key] for key in again) + (chunks - 1) * self.once
        return extra / alone

    def choice(
        self, again: tuple[str, ...], chunk: int, sweep: int, free: int, limit: int
    ) -> Choice:
        way = (again, chunk, sweep)
        return Choice(
            again, chunk, _run(way), self.seeds, self.peak(*way), free, limit, self.more(way)
        )
