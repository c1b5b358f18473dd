"""What one call of a block function allocates, to be noted at every call of its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrpc.backend.memory.log import OUTSIDE, Given, Held, Log, Shelf, TensorHeld
from lrpc.backend.schedule.ir import Call, Compute, Function, Load, Step, WeightName
from lrpc.backend.schedule.state import names_made, steps_of
from lrpc.backend.schedule.table import is_weight
from lrpc.backend.schedule.walk import operands, unconditional


class Local(str):
    """The name of a value inside a function, in the place of the one that graphs have for it."""

    __slots__ = ()


@dataclass(frozen=True)
class Shape:
    """What a function reads beside its parameters, in what it calls as well, worked out once:
    entries of its part of the state, entries where it keeps tables, weights; and its values by
    name, in order."""

    function: Function
    loads: tuple[str, ...]
    keeps: tuple[str, ...]
    weights: tuple[str | WeightName, ...]
    values: tuple[str, ...]

    @staticmethod
    def of(function: Function, called: Mapping[str, Shape]) -> Shape:
        """The shape of a function that calls others."""
        steps = steps_of(function.body)
        calls = [s for s in unconditional(function.body) if isinstance(s, Call)]
        read = (x for s in (*steps, *calls) for x in operands(s) if isinstance(x, Load))
        loads = dict.fromkeys(x.entry.name for x in read)
        keeps = dict.fromkeys(s.keeps.name for s in steps if isinstance(s, Compute) and s.keeps)
        weights = dict.fromkeys(w for s in steps for w in _weights(s))
        for s in calls:
            inside = called[s.function]
            loads |= dict.fromkeys(inside.loads)
            keeps |= dict.fromkeys(inside.keeps)
            weights |= dict.fromkeys(_within(s.prefix, w) for w in inside.weights)
        values = names_made(function.body)
        return Shape(function, tuple(loads), tuple(keeps), tuple(weights), values)


def _within(prefix: str | WeightName, weight: str | WeightName) -> str | WeightName:
    """A weight of a function that is called with a prefix, for the caller."""
    if isinstance(weight, str):
        return weight
    if isinstance(prefix, str):
        return f"{prefix}{weight.name}"
    return WeightName(f"{prefix.name}{weight.name}")


def _weights(s: Step) -> list[str | WeightName]:
    if not isinstance(s, Compute):
        return []
    found = (v for k, v in s.attrs if is_weight(s.op, k))
    return [v for v in found if isinstance(v, (str, WeightName))]


@dataclass
class Trace:
    """The log of one call, in which the storages of what it was given come first: so many
    `outside`. Its steps and storages are counted from the call on."""

    log: Log
    outside: int
    shelf: Shelf
    tables: frozenset[str]
    results: list[TensorHeld]
    given: list[Given]

    def replay(
        self, log: Log, shelf: Shelf, storages: Sequence[int], prefix: str, graph: Mapping[str, str]
    ) -> tuple[list[TensorHeld], list[Given]]:
        """Note the call in another log, where it was given `storages`; its results, each held once
        more, and what it hands out."""
        first, step = len(log.held) - self.outside, log.step
        own = self.log.held

        def place(storage: int) -> int:
            if storage == OUTSIDE:
                return OUTSIDE
            return storages[storage] if storage < self.outside else storage + first

        for real, h in zip(storages, own, strict=False):
            if real != OUTSIDE:
                log.held[real].holders += h.holders - 1
                log.held[real].part = h.part or log.held[real].part
                log.held[real].name = _named(h.name, graph) or log.held[real].name
        modules = {m: f"{prefix}{m}" if m else prefix[:-1] for m in set(self.log.modules)}
        for h in own[self.outside :]:
            name = _named(h.name, graph)
            end = None if h.end is None else h.end + step
            module = modules[h.module]
            log.held.append(
                Held(h.size, h.start + step, h.part, name, module, h.op, h.holders, end)
            )
        log.modules += [modules[m] for m in self.log.modules]
        for name, (kind, storage) in self.shelf.values.items():
            shelf.values[name] = (kind, place(storage))
        for name in self.tables:
            shelf.tables[name] = dict(self.shelf.tables[name])
        shelf.storages += map(place, self.shelf.storages)
        for name, (kind, storage) in self.log.where.items():
            log.where[graph.get(name, name)] = (kind, place(storage))
        results = [(kind, place(storage)) for kind, storage in self.results]
        return results, [Given(g.place, g.kind, place(g.storage)) for g in self.given]


def _named(name: str, graph: Mapping[str, str]) -> str:
    """The name of a value for the caller, who knows those inside by `graph`."""
    return graph.get(name, name) if type(name) is Local else name
