"""The search for the cheapest configuration of a program within so many bytes.

Simulations of the program that it makes (`Model`) give its exact bytes, an estimate its work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from typing import Any

from lrpc.backend.memory.bounds import most_tables, records_of, results_of
from lrpc.backend.memory.log import Log, Place
from lrpc.backend.memory.options import Option, fronts
from lrpc.backend.memory.run import Model, Timeline
from lrpc.backend.memory.work import work_of, works_of

TRIED = 16  # simulations to take steps back, and as many to replace some by others
FEW = 64  # steps down, up to which more is tried: all of them, or as many for equal blocks

Kept = tuple[tuple[str, tuple[str, ...]], ...]  # recomputed blocks, and what each keeps
Configuration = tuple[Kept, int, int]  # these, seeds at once in a block, seeds in a pass
Levels = tuple[int, ...]  # for each block the option on its front


def run_of(configuration: Configuration) -> int:
    """The seeds in a pass, 0 where all of them go through a block at once."""
    recomputed, chunk, per_pass = configuration
    return per_pass if recomputed or per_pass > chunk else 0


def steps(seeds: int) -> list[tuple[int, int]]:
    """Seeds through a block at once and in a pass, in the order in which to try them."""
    chunks = sorted({max(1, seeds // part) for part in (1, 2, 4, seeds)}, reverse=True)
    return [(chunk, per_pass) for chunk in chunks for per_pass in dict.fromkeys((chunk, seeds))]


@dataclass
class Tries:
    """How many simulations are left."""

    left: int


class Search:
    """Peaks and prices of the configurations of one program, each simulated once.

    Calls are numbered: each target's without ledger and all seeds, then each with its ledger and
    one seed at a time. `watched` are those that decide; the others are looked at where something is
    found. `free` is the most that a call without ledger holds with nothing recomputed.
    """

    def __init__(self, model: Model, checkpoint: str, budget: bool = True) -> None:
        self.model, self.checkpoint = model, checkpoint
        self.seeds = model.chunk
        self.seen: dict[tuple[Configuration, int], int] = {}
        self.programs: dict[Configuration, tuple[Model, Log]] = {}
        free: Configuration = ((), model.chunk, model.chunk)
        self.tables: dict[Place, int] = {}
        self.targets = range(len(model.codes))
        self.calls = range(2 * len(model.codes))
        _ = model.schedule  # whole, as all its functions are looked at
        timelines = [self._timeline(free, target) for target in self.targets]
        self.free = max(timeline.peak for timeline in timelines)
        if budget:
            others = (self._timeline(free, call) for call in self.calls[len(self.targets) :])
            self.tables = most_tables(t.tables for t in (*timelines, *others))
            self.seen.clear()
        self.fronts = fronts(model, timelines) if checkpoint != "none" else []
        if checkpoint == "block":
            self.fronts = [front.ends() for front in self.fronts]
        self.options = {(x.key, option.kept): option for x in self.fronts for option in x.options}
        self.down = self._downwards()
        self.none: Levels = (0,) * len(self.fronts)
        self.all: Levels = tuple(len(front.options) - 1 for front in self.fronts)
        #: One option before where something is recomputed there as well.
        self.trimmed: Levels = tuple(max(1, level - 1) for level in self.all)
        self.least = [self.kept(levels) for levels in dict.fromkeys((self.all, self.trimmed))]
        self.watched: list[int] = []
        self.watch(free)

    def _downwards(self) -> list[int]:
        """The blocks to move a step along their fronts, one after the other: the cheapest
        bytes first."""
        prices = [
            (above.price(below), i)
            for i, front in enumerate(self.fronts)
            for above, below in pairwise(front.options)
        ]
        return [i for _, i in sorted(prices)]

    def kept(self, levels: Levels) -> Kept:
        """What the blocks keep under these options."""
        options = [x.options[level] for x, level in zip(self.fronts, levels, strict=True)]
        return tuple(
            (x.key, o.kept) for x, o in zip(self.fronts, options, strict=True) if o.kept is not None
        )

    def watch(self, configuration: Configuration) -> None:
        """Let the call that needs most there decide as well."""
        calls = self.calls if self.watched else self.targets
        self.watched.append(max(calls, key=lambda call: self._peak(configuration, call)))

    def peak(self, *configuration: Any) -> int:
        """The most bytes held at once without ledger, for any target."""
        return max(self._peak(configuration, target) for target in self.targets)

    def ledger_peak(self, *configuration: Any) -> int:
        """The most bytes held at once with ledger, one seed at a time."""
        return max(self._peak(configuration, call) for call in self.calls[len(self.targets) :])

    def most(self, *configuration: Any) -> int:
        """The most bytes of any call."""
        return max(self.peak(*configuration), self.ledger_peak(*configuration))

    def _peak(self, configuration: Configuration, call: int) -> int:
        if (configuration, call) not in self.seen:
            self._timeline(configuration, call)
        return self.seen[configuration, call]

    def _timeline(self, configuration: Configuration, call: int) -> Timeline:
        if configuration not in self.programs:
            self._run(configuration)
        model, after = self.programs[configuration]
        ledger, target = divmod(call, len(self.targets))
        found = model.timeline(target, 1 if ledger else self.seeds, after, bool(ledger))
        more = self._room(target) if ledger and self.seeds > 1 else 0
        tables = sum(n for place, n in self.tables.items() if place[0] not in model.recomputed)
        self.seen[configuration, call] = max(found.after_others(tables)) + more
        return found

    def _run(self, configuration: Configuration, whole: bool = False) -> None:
        """Run the forward pass of a configuration, for calls of one target alone at a time, or in
        the `whole` program, where ends that targets share may hold more."""
        kept, chunk, run = configuration[0], configuration[1], run_of(configuration)
        model = replace(self.model, recomputed=dict(kept), chunk=chunk, per_pass=run)
        _ = whole and model.schedule
        self.programs = {configuration: (model, model.forward(1))}

    def whole(self, configuration: Configuration) -> int:
        """The most bytes of any call of the whole program."""
        self._run(configuration, whole=True)
        self.seen = {k: size for k, size in self.seen.items() if k[0] != configuration}
        return self.most(*configuration)

    def _room(self, target: int) -> int:
        """The results of all seeds with a ledger, as `kernels/limits.py` counts them."""
        results = sum(results_of(self.model, target).values())
        return results * self.seeds + 8 * (records_of(self.model, target) + 2) * (self.seeds + 1)

    def _fits(self, levels: Levels, chunk: int, per_pass: int, limit: int) -> bool:
        configuration = (self.kept(levels), chunk, per_pass)
        return all(self._peak(configuration, call) <= limit for call in self.watched)

    def within(self, limit: int) -> Configuration | None:
        """The cheapest configuration whose watched calls keep the limit; None if there is none."""
        found: list[tuple[Levels, int, int]] = []
        for chunk, per_pass in steps(self.seeds):
            best = min((self._more(*one) for one in found), default=math.inf)
            if self._more(self.none, chunk, per_pass) >= best:
                continue  # even with nothing recomputed
            levels = self._fewest(chunk, per_pass, limit)
            if levels is not None:
                found.append((levels, chunk, per_pass))
        if not found:
            return None
        levels, chunk, per_pass = min(found, key=lambda one: (self._more(*one), -one[1]))
        if self.checkpoint != "block":
            starts = [levels]
            if any(levels) and len(self.down) <= FEW:
                starts += [self.all, self._even(chunk, per_pass, limit)]
            ends = [self._improved(start, chunk, per_pass, limit) for start in starts]
            levels = min(ends, key=self._work)
        return self.kept(levels), chunk, per_pass

    def _fewest(self, chunk: int, per_pass: int, limit: int) -> Levels | None:
        """As many steps, cheapest bytes first, as the limit asks for; None where all of them are
        not enough."""
        if self.checkpoint == "block":
            return self.all if self._fits(self.all, chunk, per_pass, limit) else None
        if self._fits(self.none, chunk, per_pass, limit):
            return self.none
        if not self._fits(self.all, chunk, per_pass, limit):
            return self.trimmed if self._fits(self.trimmed, chunk, per_pass, limit) else None
        low, high = 1, len(self.down)
        while low < high:
            middle = (low + high) // 2
            if self._fits(self._after(middle), chunk, per_pass, limit):
                high = middle
            else:
                low = middle + 1
        return self._after(low)

    def _after(self, count: int) -> Levels:
        """The options after so many steps."""
        levels = list(self.none)
        for i in self.down[:count]:
            levels[i] += 1
        return tuple(levels)

    def _even(self, chunk: int, per_pass: int, limit: int) -> Levels:
        """The cheapest feasible options, the same for equal blocks; at worst the least memory."""
        kinds = dict.fromkeys(front.options for front in self.fronts)
        if math.prod(map(len, kinds)) > FEW:
            return self.all
        found = []
        for levels in product(*(range(len(options)) for options in kinds)):
            of = dict(zip(kinds, levels, strict=True))
            found.append(tuple(of[front.options] for front in self.fronts))
        fitting = (
            x for x in sorted(found, key=self._work) if self._fits(x, chunk, per_pass, limit)
        )
        return next(fitting, self.all)

    def _improved(self, levels: Levels, chunk: int, per_pass: int, limit: int) -> Levels:
        """Less the steps that turn out not to be needed; then with one more in the place of
        others, the cheapest first, as long as that is cheaper."""
        tries = Tries(TRIED + sum(levels) if levels == self.all else TRIED)
        levels = self._less(levels, chunk, per_pass, limit, tries)
        tries, better = Tries(TRIED), True
        while better:
            better = False
            for k in self._cheapest(levels):
                other = self._less(_moved(levels, k, 1), chunk, per_pass, limit, tries, k)
                if self._work(other) < self._work(levels):
                    levels, better = other, True
                    break
        return levels

    def _less(
        self, levels: Levels, chunk: int, per_pass: int, limit: int, tries: Tries, but: int = -1
    ) -> Levels:
        """Less the steps that the limit allows to take back, the costliest first; of equal
        blocks with equal options one stands for all that follow where it does not. `but` stays
        where it is."""
        failed: set[tuple[tuple[Option, ...], int]] = set()
        while tries.left:
            kinds = {i: (self.fronts[i].options, levels[i]) for i in self._costliest(levels)}
            i = next((i for i, kind in kinds.items() if i != but and kind not in failed), None)
            if i is None:
                return levels
            tries.left -= 1
            other = _moved(levels, i, -1)
            if self._fits(other, chunk, per_pass, limit):
                levels = other
            else:
                failed.add(kinds[i])
        return levels

    def _step(self, block: int, level: int) -> int:
        """The work of a step to this option."""
        options = self.fronts[block].options
        return options[level].work - options[level - 1].work

    def _costliest(self, levels: Levels) -> list[int]:
        """Blocks by the work of their last step, the costliest first."""
        taken = [i for i, level in enumerate(levels) if level]
        return sorted(taken, key=lambda i: self._step(i, levels[i]), reverse=True)

    def _cheapest(self, levels: Levels) -> list[int]:
        """Blocks by the work of their next step, the cheapest first; of equal ones the first."""
        kinds: dict[tuple[tuple[Option, ...], int], int] = {}
        for i, level in enumerate(levels):
            if level < self.all[i]:
                kinds.setdefault((self.fronts[i].options, level), i)
        return sorted(kinds.values(), key=lambda i: self._step(i, levels[i] + 1))

    def _work(self, levels: Levels) -> int:
        return sum(x.options[level].work for x, level in zip(self.fronts, levels, strict=True))

    def _more(self, levels: Levels, chunk: int, per_pass: int) -> float:
        return self.more((self.kept(levels), chunk, per_pass))

    def more(self, configuration: Configuration) -> float:
        """The estimated work beyond that of all seeds at once with nothing recomputed, as a
        share of it."""
        recomputed, chunk, per_pass = configuration
        passes, chunks = math.ceil(self.seeds / per_pass), math.ceil(self.seeds / chunk)
        if not recomputed and chunks == 1:
            return 0.0
        forward, of_seeds, once = self._works
        alone = forward + once + self.seeds * of_seeds
        work = sum(self.options[pair].work for pair in recomputed)
        return (passes * work + (chunks - 1) * once) / alone

    @cached_property
    def _works(self) -> tuple[float, float, float]:
        """The estimated work of the forward pass, and of the costliest target: by seed, once."""
        model, sizes = self.model, {"B": 1, "K": 1, **self.model.sizes}
        forward = sum(work_of(n, model.weights, sizes) for n in model.reading.run)
        works = (works_of(part, model.weights, sizes) for part, _ in model.reading.parts)
        return (forward, *max(works, key=sum))


def _moved(levels: Levels, block: int, by: int) -> Levels:
    """The options with one block's a step further or back."""
    return (*levels[:block], levels[block] + by, *levels[block + 1 :])
