"""The search for the cheapest way to run a program within so many bytes.

Ways are priced by simulating the program that they make (`Model`), so the bytes are exact; of those
within the limit the cheapest is taken, by an estimate of the work that it costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any

from lrpc.backend.memory.bounds import most_tables, records_of, results_of
from lrpc.backend.memory.options import Rung, ladders
from lrpc.backend.memory.run import Model, Timeline
from lrpc.backend.memory.tape import Log, Place
from lrpc.backend.memory.work import work_of
from lrpc.ir.graph import Node
from lrpc.ir.types import Sym

TRIED = 16  # simulations to take steps back, and as many to replace some by others
FEW = 64  # steps down, up to which more is tried: all of them, or as many for equal blocks

Kept = tuple[tuple[str, tuple[str, ...]], ...]  # blocks computed again, and what each keeps
Way = tuple[Kept, int, int]  # these, seeds at once, seeds in a sweep
Levels = tuple[int, ...]  # for each block the rung of its ladder


def run_of(way: Way) -> int:
    """The seeds from block to block, 0 where all that are in a sweep go through a block at once."""
    again, chunk, sweep = way
    return sweep if again or sweep > chunk else 0


def steps(seeds: int) -> list[tuple[int, int]]:
    """Seeds through a block at once and from block to block, in the order in which to try them."""
    chunks = sorted({max(1, seeds // part) for part in (1, 2, 4, seeds)}, reverse=True)
    return [(chunk, sweep) for chunk in chunks for sweep in dict.fromkeys((chunk, seeds))]


@dataclass
class Tries:
    """How many simulations are left."""

    left: int


class Search:
    """Peaks and prices of the ways to run one program, each simulated once.

    Calls are numbered: each target's without ledger and all seeds, then each with its ledger and
    one seed at a time. `watched` are those that decide; the others are looked at where something is
    found. `free` is the most that a call without ledger holds with nothing computed again.
    """

    def __init__(self, model: Model, checkpoint: str, budget: bool = True) -> None:
        self.model, self.checkpoint = model, checkpoint
        self.seeds = model.chunk
        self.seen: dict[tuple[Way, int], int] = {}
        self.programs: dict[Way, tuple[Model, Log]] = {}
        free: Way = ((), model.chunk, model.chunk)
        self.tables: dict[Place, int] = {}
        self.targets = range(len(model.codes))
        self.calls = range(2 * len(model.codes))
        _ = model.schedule  # whole, as all its functions are looked at
        timelines = [self._timeline(free, target) for target in self.targets]
        self.free = max(timeline.peak for timeline in timelines)
        if budget:
            booked = (self._timeline(free, call) for call in self.calls[len(self.targets) :])
            self.tables = most_tables(t.tables for t in (*timelines, *booked))
            self.seen.clear()
        self.ladders = ladders(model, timelines) if checkpoint != "none" else []
        if checkpoint == "block":
            self.ladders = [ladder.ends() for ladder in self.ladders]
        self.rungs = {(x.key, rung.kept): rung for x in self.ladders for rung in x.rungs}
        self.down = self._downwards()
        self.none: Levels = (0,) * len(self.ladders)
        self.all: Levels = tuple(len(ladder.rungs) - 1 for ladder in self.ladders)
        #: One rung up where something is computed again there as well.
        self.trimmed: Levels = tuple(max(1, level - 1) for level in self.all)
        self.least = [self.kept(levels) for levels in dict.fromkeys((self.all, self.trimmed))]
        sizes = {"B": 1, "K": 1}
        self.forward = sum(work_of(n, model.weights, sizes) for n in model.reading.run)
        works = [self._relevance(part) for part, _ in model.reading.parts]
        self.of_seeds, self.once = max(works, key=sum)
        self.watched: list[int] = []
        self.watch(free)

    def _downwards(self) -> list[int]:
        """The blocks to take a step down the ladder, one after the other: the cheapest bytes
        first."""
        prices = [
            (above.price(below), i)
            for i, ladder in enumerate(self.ladders)
            for above, below in pairwise(ladder.rungs)
        ]
        return [i for _, i in sorted(prices)]

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

    def kept(self, levels: Levels) -> Kept:
        """What the blocks keep on these rungs."""
        rungs = [x.rungs[level] for x, level in zip(self.ladders, levels, strict=True)]
        pairs = zip(self.ladders, rungs, strict=True)
        return tuple((x.key, rung.kept) for x, rung in pairs if rung.kept is not None)

    def watch(self, way: Way) -> None:
        """Let the call that needs most there decide as well."""
        calls = self.calls if self.watched else self.targets
        self.watched.append(max(calls, key=lambda call: self._peak(way, call)))

    def peak(self, *way: Any) -> int:
        """The most bytes held at once without ledger, for any target."""
        return max(self._peak(way, target) for target in self.targets)

    def booked(self, *way: Any) -> int:
        """The most bytes held at once with ledger, one seed at a time."""
        return max(self._peak(way, call) for call in self.calls[len(self.targets) :])

    def most(self, *way: Any) -> int:
        """The most bytes of any call."""
        return max(self.peak(*way), self.booked(*way))

    def _peak(self, way: Way, call: int) -> int:
        if (way, call) not in self.seen:
            self._timeline(way, call)
        return self.seen[way, call]

    def _timeline(self, way: Way, call: int) -> Timeline:
        again, chunk, _ = way
        if way not in self.programs:
            model = replace(self.model, again=dict(again), chunk=chunk, sweep=run_of(way))
            self.programs = {way: (model, model.forward(1))}  # the last one alone
        model, after = self.programs[way]
        ledger, target = divmod(call, len(self.targets))
        found = model.timeline(target, 1 if ledger else self.seeds, after, bool(ledger))
        more = self._room(target) if ledger and self.seeds > 1 else 0
        anew = dict(again)
        tables = sum(size for place, size in self.tables.items() if place[0] not in anew)
        self.seen[way, call] = max(found.after_others(tables)) + more
        return found

    def _room(self, target: int) -> int:
        """The results of all seeds with a ledger, as `kernels/limits.py` counts them."""
        results = sum(results_of(self.model, target).values())
        return results * self.seeds + 8 * (records_of(self.model, target) + 2) * (self.seeds + 1)

    def _fits(self, levels: Levels, chunk: int, sweep: int, limit: int) -> bool:
        way = (self.kept(levels), chunk, sweep)
        return all(self._peak(way, call) <= limit for call in self.watched)

    def within(self, limit: int) -> Way | None:
        """The cheapest way whose watched calls keep the limit; None if there is none."""
        found: list[tuple[Levels, int, int]] = []
        for chunk, sweep in steps(self.seeds):
            best = min((self._more(*way) for way in found), default=math.inf)
            if self._more(self.none, chunk, sweep) >= best:
                continue  # even with nothing computed again
            levels = self._fewest(chunk, sweep, limit)
            if levels is not None:
                found.append((levels, chunk, sweep))
        if not found:
            return None
        levels, chunk, sweep = min(found, key=lambda way: (self._more(*way), -way[1]))
        if self.checkpoint != "block":
            starts = [levels]
            if any(levels) and len(self.down) <= FEW:
                starts += [self.all, self._even(chunk, sweep, limit)]
            ends = [self._improved(start, chunk, sweep, limit) for start in starts]
            levels = min(ends, key=self._work)
        return self.kept(levels), chunk, sweep

    def _fewest(self, chunk: int, sweep: int, limit: int) -> Levels | None:
        """As many steps, cheapest bytes first, as the limit asks for; None where all of them are
        not enough."""
        if self.checkpoint == "block":
            return self.all if self._fits(self.all, chunk, sweep, limit) else None
        if self._fits(self.none, chunk, sweep, limit):
            return self.none
        if not self._fits(self.all, chunk, sweep, limit):
            return self.trimmed if self._fits(self.trimmed, chunk, sweep, limit) else None
        low, high = 1, len(self.down)
        while low < high:
            middle = (low + high) // 2
            if self._fits(self._after(middle), chunk, sweep, limit):
                high = middle
            else:
                low = middle + 1
        return self._after(low)

    def _after(self, count: int) -> Levels:
        """The rungs after so many steps."""
        levels = list(self.none)
        for i in self.down[:count]:
            levels[i] += 1
        return tuple(levels)

    def _even(self, chunk: int, sweep: int, limit: int) -> Levels:
        """The cheapest rungs that will do with equal blocks on equal rungs; at worst the lowest."""
        ladders = dict.fromkeys(ladder.rungs for ladder in self.ladders)
        if math.prod(map(len, ladders)) > FEW:
            return self.all
        found = []
        for rungs in product(*(range(len(rungs)) for rungs in ladders)):
            of = dict(zip(ladders, rungs, strict=True))
            found.append(tuple(of[ladder.rungs] for ladder in self.ladders))
        fitting = (x for x in sorted(found, key=self._work) if self._fits(x, chunk, sweep, limit))
        return next(fitting, self.all)

    def _improved(self, levels: Levels, chunk: int, sweep: int, limit: int) -> Levels:
        """Less the steps that turn out not to be needed; then with one more in the place of
        others, the cheapest first, as long as that is cheaper."""
        tries = Tries(TRIED + sum(levels) if levels == self.all else TRIED)
        levels = self._less(levels, chunk, sweep, limit, tries)
        tries, better = Tries(TRIED), True
        while better:
            better = False
            for k in self._cheapest(levels):
                other = self._less(_moved(levels, k, 1), chunk, sweep, limit, tries, k)
                if self._work(other) < self._work(levels):
                    levels, better = other, True
                    break
        return levels

    def _less(
        self, levels: Levels, chunk: int, sweep: int, limit: int, tries: Tries, but: int = -1
    ) -> Levels:
        """Less the steps that the limit allows to take back, the costliest first; of equal blocks
        on equal rungs one stands for all that follow where it does not. `but` stays where it is."""
        failed: set[tuple[tuple[Rung, ...], int]] = set()
        while tries.left:
            kinds = {i: (self.ladders[i].rungs, levels[i]) for i in self._costliest(levels)}
            i = next((i for i, kind in kinds.items() if i != but and kind not in failed), None)
            if i is None:
                return levels
            tries.left -= 1
            other = _moved(levels, i, -1)
            if self._fits(other, chunk, sweep, limit):
                levels = other
            else:
                failed.add(kinds[i])
        return levels

    def _step(self, block: int, rung: int) -> int:
        """The work of a step down to this rung."""
        rungs = self.ladders[block].rungs
        return rungs[rung].work - rungs[rung - 1].work

    def _costliest(self, levels: Levels) -> list[int]:
        """Blocks by the work of their last step, the costliest first."""
        taken = [i for i, level in enumerate(levels) if level]
        return sorted(taken, key=lambda i: self._step(i, levels[i]), reverse=True)

    def _cheapest(self, levels: Levels) -> list[int]:
        """Blocks by the work of their next step, the cheapest first; of equal ones the first."""
        kinds: dict[tuple[tuple[Rung, ...], int], int] = {}
        for i, level in enumerate(levels):
            if level < self.all[i]:
                kinds.setdefault((self.ladders[i].rungs, level), i)
        return sorted(kinds.values(), key=lambda i: self._step(i, levels[i] + 1))

    def _work(self, levels: Levels) -> int:
        return sum(x.rungs[level].work for x, level in zip(self.ladders, levels, strict=True))

    def _more(self, levels: Levels, chunk: int, sweep: int) -> float:
        return self.more((self.kept(levels), chunk, sweep))

    def more(self, way: Way) -> float:
        """The estimated work beyond that of all seeds at once with nothing computed again, as a
        share of it."""
        again, chunk, sweep = way
        sweeps, chunks = math.ceil(self.seeds / sweep), math.ceil(self.seeds / chunk)
        alone = self.forward + self.once + self.seeds * self.of_seeds
        work = sum(self.rungs[pair].work for pair in again)
        return (sweeps * work + (chunks - 1) * self.once) / alone


def _moved(levels: Levels, block: int, by: int) -> Levels:
    """The rungs with one block's a step up or down."""
    return (*levels[:block], levels[block] + by, *levels[block + 1 :])
