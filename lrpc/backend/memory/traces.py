"""What one call of a block function allocates, to be noted at every call of its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrpc.backend.memory.tape import OUTSIDE, Given, Held, Log, Shelf, TensorHeld
from lrpc.backend.schedule.ir import Compute, Function, Load, Step, WeightName
from lrpc.backend.schedule.state import made, steps_of
from lrpc.backend.schedule.table import is_weight


class Local(str):
    """The name of a value inside a function, in the place of the one that graphs have for it."""

    __slots__ = ()


@dataclass(frozen=True)
class Shape:
    """What a function reads beside its parameters, worked out once: entries of its part of the
    state, entries where it keeps tables, weights; and its values by name, in order."""

    function: Function
    loads: tuple[str, ...]
    keeps: tuple[str, ...]
    weights: tuple[str | WeightName, ...]
    values: tuple[str, ...]

    @staticmethod
    def of(function: Function) -> Shape:
        """The shape of a function."""
        steps = steps_of(function.body)
        loads = (x.entry.name for s in steps for x in s.inputs if isinstance(x, Load))
        keeps = (s.keeps.name for s in steps if isinstance(s, Compute) and s.keeps)
        weights = (w for s in steps for w in _weights(s))
        values = tuple(v.name for v in made(function.body))
        return Shape(
            *(function, tuple(dict.fromkeys(loads)), tuple(dict.fromkeys(keeps))),
            *(tuple(dict.fromkeys(weights)), values),
        )


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
        modules = {m: f"{prefix}{m}" if m else prefix[:-1] for m in set(self.log.modules)}
        for h in own[self.outside :]:
            name = graph.get(h.name, h.name) if type(h.name) is Local else h.name
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
