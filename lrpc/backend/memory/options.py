"""What each block of the forward pass may leave in the state, from all that it saves to nothing.

A few options, each the cheapest at some price of a byte (`lrpc/backend/memory/levels.py`)."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from lrpc.backend.memory import levels
from lrpc.backend.memory.levels import Kept, hull
from lrpc.backend.memory.log import OUTSIDE, Log, Place
from lrpc.backend.memory.run import Model, Timeline
from lrpc.backend.memory.work import work_of, work_of_tables
from lrpc.backend.schedule.ir import Block, Compute, Step
from lrpc.backend.schedule.kept import TABLES, dropped, sampling_tables
from lrpc.backend.schedule.segments import Every
from lrpc.backend.schedule.state import Places, made, steps_of
from lrpc.backend.schedule.tables import Tables, with_tables
from lrpc.ir.graph import Node, Value


@dataclass(frozen=True)
class Option:
    """One choice for a block: what the state keeps of it, by local names; the estimated work to
    recompute the rest, and the bytes that are kept for that. None: nothing is recomputed."""

    kept: tuple[str, ...] | None
    work: int
    size: int

    def price(self, below: Option) -> float:
        """The work for each byte that the step down to `below` saves."""
        return (below.work - self.work) / (self.size - below.size)


@dataclass(frozen=True)
class Front:
    """The Pareto front of one block: its options from all kept to the fewest bytes, of which each
    costs more for a byte saved than the one before. `whole` is the work of the block."""

    key: str
    options: tuple[Option, ...]
    whole: int

    def ends(self) -> Front:
        """All kept, or all recomputed."""
        return replace(self, options=(self.options[0], Option((), self.whole, 0)))


def fronts(model: Model, free: Sequence[Timeline]) -> list[Front]:
    """Of the blocks that keep something for relevance alone, in program order. `free` are the
    timelines of the targets with nothing recomputed."""
    facts = _facts(replace(model, recomputed={}, per_pass=0), free)
    solved: dict[Hashable, list[Kept]] = {}
    found = []
    for block in facts.blocks:
        problem = _Problem(facts, block)
        if not problem.block.needed:
            continue
        if problem.kind not in solved:
            solved[problem.kind] = [*hull(problem.block), problem.block.least()]
        found.append(problem.front(solved[problem.kind]))
    return [front for front in found if len(front.options) > 1]


@dataclass(frozen=True)
class _Facts:
    """What is known of a program that recomputes nothing: its blocks, where it would save what if
    all of them were recomputed, what it would not, its forward pass; the bytes that
    samplings keep, and those that relevance adds to the state, by block."""

    plain: Model
    blocks: Sequence[Block]
    places: Places
    shared: dict[str, Place]  # by what a sampling makes, where it keeps its tables
    dropped: frozenset[str]
    log: Log
    tables: dict[Place, int]
    later: dict[str, int]


def _facts(plain: Model, free: Sequence[Timeline]) -> _Facts:
    scheduler, needed = plain.scheduler, plain.reading.needed
    every = scheduler.blocks(Every())
    blocks = [s for s in every.forward.body if isinstance(s, Block)]
    kept: dict[str, tuple[str, ...]] = {block.key: () for block in blocks}
    places, tables, all_needed = sampling_tables(every, kept, needed)
    flat = scheduler.flat
    relevance = (s for t in flat.targets for s in steps_of(t.plain.body))
    later = dict(_samplings(relevance, tables, all_needed))
    shared = dict(_samplings(steps_of(flat.forward.body), tables, all_needed))
    _, own_tables, own_needed = sampling_tables(scheduler.blocks(), {}, needed)
    own = dict(_samplings(steps_of(flat.forward.body), own_tables, own_needed))
    # Each result has memory of its own here: what is written over is worth keeping all the same.
    log, sizes = plain.forward(1, apart=True), dict[Place, int]()
    for name, place in shared.items():
        if name in own and place in later.values():
            scope, there = own[name]
            found = log.state[scope].tables.get(there) if scope in log.state else None
            if found is not None:
                sizes[place] = sum(kind.bytes for kinds in found.values() for kind in kinds)
    makers = {name: scope for name, (scope, _) in later.items()}
    gone = dropped(every, kept, needed)
    return _Facts(plain, blocks, places, shared, gone, log, sizes, _later(free, makers))


def _samplings(
    steps: Iterable[Step], tables: Tables, needed: Collection[str]
) -> Iterator[tuple[str, Place]]:
    """What samplings make, and where each keeps its tables."""
    for step in steps:
        placed = with_tables(step, tables, needed)
        if isinstance(placed, Compute) and placed.keeps is not None:
            yield placed.outputs[0].name, (placed.keeps.part.scope, placed.keeps.name)


def _later(free: Sequence[Timeline], makers: dict[str, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for timeline in free:
        here: dict[str, int] = {}
        for s in timeline.storages:
            if s.part == "state" and s.start >= timeline.turn and s.name in makers:
                here[makers[s.name]] = here.get(makers[s.name], 0) + s.size
        found |= {key: max(size, found.get(key, 0)) for key, size in here.items()}
    return found


class _Problem:
    """What one block may keep. Its values count by the storage that they lie in, numbered as they
    come, so that equal blocks are equal problems."""

    def __init__(self, facts: _Facts, block: Block) -> None:
        self.facts, self.key = facts, block.key
        self.made, nodes = list(made(block.body)), _nodes(facts.plain, block)
        self.numbers: dict[int | Place, str] = {}
        self.steps: list[levels.Step] = []
        self.nodes: list[Node | None] = []  # of each step; None: it makes a table
        self.sampled: dict[str, str] = {}  # number of a table → the name to keep it by
        done = set[str]()
        for node in nodes:
            reads = self._numbers(node.inputs) | self._table(node)
            makes = self._numbers(node.outputs) - reads - done
            if makes:
                done |= makes
                work = work_of(node, facts.plain.weights, {"B": 1, "K": 1})
                self._step(int(work), reads, makes, node)
        gone = (v for v in self.made if v.name in facts.dropped)
        needed = (self._numbers(gone) & done) | self.sampled.keys()
        there = self._numbers(v for v in self.made if self._crosses(v))
        size = {number: self._size(place) for place, number in self.numbers.items()}
        self.block = levels.Block(self.steps, size | dict.fromkeys(there, 0), frozenset(needed))

    @property
    def kind(self) -> Hashable:
        """The same for equal blocks."""
        block = self.block
        return tuple(block.steps), tuple(block.size.items()), tuple(sorted(block.needed))

    def front(self, best: Sequence[Kept]) -> Front:
        """The choices `best` between all and nothing kept. The last one stands below the others,
        even where it does not by what is known of one block."""
        whole = sum(step.work for step in self.steps)
        found = [Option(self._names(kept), kept.work, kept.size) for kept in best]
        *others, last = found
        if last.kept == others[-1].kept:
            found = others
        elif last.size >= others[-1].size:
            found = [*others, replace(last, size=others[-1].size - 1)]
        found = [option if option.kept else replace(option, work=whole) for option in found]
        later = self.facts.later.get(self.key, 0)
        first = Option(None, 0, found[0].size + later)
        return Front(self.key, _with_whole(_convex([first, *found]), whole), whole)

    def _crosses(self, value: Value) -> bool:
        """Whether the state holds a value whatever its block keeps."""
        needed = self.facts.plain.reading.needed
        return value.name in needed and value.name not in self.facts.dropped

    def _names(self, kept: Kept) -> tuple[str, ...]:
        """The local names of what is kept: what relevance reads of it, or a recomputed step,
        and what the state holds in any case."""
        run = [node for i, node in enumerate(self.nodes) if node is not None and i in kept.steps]
        read = {v.name for node in run for v in node.inputs} | self.facts.dropped
        names = [
            self.facts.places[v.name].name
            for v in self.made
            if self._crosses(v) or (v.name in read and self._numbers([v]) & kept.values)
        ]
        return (*names, *(name for number, name in self.sampled.items() if number in kept.values))

    def _numbers(self, values: Iterable[Value]) -> set[str]:
        places = [self.facts.log.where[v.name][1] for v in values]
        return {self._number(place) for place in places if place != OUTSIDE}

    def _number(self, place: int | Place) -> str:
        return self.numbers.setdefault(place, str(len(self.numbers)))

    def _step(self, work: int, reads: set[str], makes: set[str], node: Node | None) -> None:
        self.steps.append(levels.Step(work, tuple(sorted(reads)), tuple(sorted(makes))))
        self.nodes.append(node)

    def _table(self, node: Node) -> set[str]:
        """What a sampling shares with others, which follows from all that it reads but the value;
        nothing where it has none."""
        place = self.facts.shared.get(node.outputs[0].name)
        if place is None or place not in self.facts.tables:
            return set()
        number = self._number(place)
        if number not in self.sampled:
            work = work_of_tables(self.facts.tables[place])
            self._step(work, self._numbers(node.inputs[1:]), {number}, None)
            self.sampled[number] = f"{place[1]}{TABLES}"
        return {number}

    def _size(self, place: int | Place) -> int:
        """The bytes that keeping a storage costs, or a table: none where it is there anyway."""
        if isinstance(place, tuple):
            return self.facts.tables[place]
        held = self.facts.log.held[place]
        own = {self.facts.log.where[v.name][1] for v in self.made}
        return held.size if place in own or held.part not in ("state", "output") else 0


def _nodes(model: Model, block: Block) -> list[Node]:
    """The nodes of the graph that a block computes."""
    return [model.graph.producers[s.outputs[0].name] for s in steps_of(block.body)]


def _with_whole(options: tuple[Option, ...], work: int) -> tuple[Option, ...]:
    """With the whole function recomputed after all others: it makes what crosses to other blocks as
    well, and may write over more of it than one that finds this in the state."""
    last = options[-1]
    if not last.kept:
        return options
    return (*options, Option((), max(work, last.work) + 1, last.size - 1))


def _convex(options: Sequence[Option]) -> tuple[Option, ...]:
    """Those of the options, in order of their bytes, that are the cheapest at some price of one."""
    found = [options[0]]
    for option in options[1:]:
        if option.size >= found[-1].size:
            continue
        while len(found) > 1 and found[-2].price(found[-1]) > found[-1].price(option):
            found.pop()
        found.append(option)
    return tuple(found)
