"""Runs the functions of a schedule on an allocation log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lrpc.backend.memory.effect import Effect, Strided
from lrpc.backend.memory.effects import Effects, called, full_name, not_run, of_images
from lrpc.backend.memory.log import OUTSIDE, Frame, Given, Log, TensorHeld, Tensors, frame
from lrpc.backend.memory.traces import Local, Shape, Trace
from lrpc.backend.schedule.chunk import of_seeds
from lrpc.backend.schedule.ir import (
    NEW,
    STEPS,
    Book,
    Call,
    Compute,
    Free,
    Function,
    Load,
    Only,
    Operand,
    Part,
    Read,
    Recompute,
    Save,
    Schedule,
    Statement,
    Step,
)
from lrpc.backend.schedule.state import names_made
from lrpc.backend.schedule.walk import handed_over
from lrpc.ir.graph import Value


@dataclass
class Machine:
    """Runs functions, with a `ledger` or without. A block function takes `chunk` seeds at a time, 0
    for all of them; the first two chunks alone where it is `brief`. With `apart`, nothing is
    written over an operand."""

    schedule: Schedule
    effects: Effects
    weights: Mapping[str, Strided]
    log: Log
    chunk: int = 0
    brief: bool = False
    apart: bool = False
    ledger: bool = False
    label: str = "value"  # what the values of the present half are in plans
    given: list[Given] = field(default_factory=list)

    def body(self, statements: Sequence[Statement], own: Frame) -> None:
        """Statements one after the other."""
        log = self.log
        for s in statements:
            if isinstance(s, STEPS):
                if self.ledger or not isinstance(s, Book):
                    self._step(s, own)
            elif isinstance(s, Only):
                if s.ledger == self.ledger:
                    self.body(s.body, own)
            elif isinstance(s, Save):
                kind, storage = own.names[s.value.name]
                part = own.part(s.entry.part)
                log.shelf(part).values[s.entry.name] = (kind, storage)
                log.save(part, storage)
            elif isinstance(s, Free):
                own.delete(s.values)
                for scope in s.parts:
                    log.close(scope)
            elif isinstance(s, Call):
                self._call(s, own)
            elif isinstance(s, Recompute):
                self._recompute(s, own)

    # -- operations ------------------------------------------------------------------------------

    def _step(self, s: Step, own: Frame) -> None:
        log, module = self.log, s.origin.module
        inputs = [self.operand(x, own) for x in s.inputs]
        keeps = s.keeps if isinstance(s, Compute) else None
        shelf = log.shelf(own.part(keeps.part)) if keeps else None
        tables = shelf.tables.get(keeps.name, {}) if shelf is not None and keeps else {}
        over = s.over if isinstance(s, Compute) and not self.apart else None
        try:
            effect = self.effects.of(
                *(s, [kind for kind, _ in inputs], own.prefix, self.weights, log.sizes),
                *(tuple(tables.items()), over),
            )
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise not_run(s, own.prefix, log.sizes["B"], error) from error
        op, name = called(s, own.graph)
        log.work(effect.workspace, name, module, op)
        label = self.label if s.outputs else "result"
        new = [log.allocate(size, label, name, module, op) for size in effect.new]
        places = [
            new[r.new]
            if r.new is not None
            else OUTSIDE
            if r.shares is None
            else inputs[r.shares][1]
            for r in effect.results
        ]
        if keeps:
            self._keep(effect, own.part(keeps.part), keeps.name, new)
        for value, result, place in zip(s.outputs, effect.results, places, strict=False):
            graph = own.graph.get(value.name, value.name)
            own.bind(value.name, result.kind, place)
            log.where[graph] = (result.kind, place)
            if result.new is not None or over is not None:
                log.held[place].name = graph
        if not s.outputs:
            read = s.place if isinstance(s, Read) else ""
            for _ in range(s.times if isinstance(s, Book) else 1):
                log.hold(places[0])
                self.given.append(Given(read, inputs[0][0], places[0]))
        log.advance(module)

    def _keep(self, effect: Effect, part: Part, name: str, new: Sequence[int]) -> None:
        """The state holds what was put into it."""
        for key, parts in effect.kept:
            self.log.shelf(part).tables.setdefault(name, {})[key] = tuple(p.kind for p in parts)
            for p in parts:
                if p.new is not None:
                    self.log.save(part, new[p.new])

    def operand(self, x: Operand, own: Frame) -> TensorHeld:
        """What an operand is."""
        if isinstance(x, Load):
            return self.log.shelf(own.part(x.entry.part)).values[x.entry.name]
        return own.names[x.name]

    # -- functions -------------------------------------------------------------------------------

    def _recompute(self, s: Recompute, own: Frame) -> None:
        self.log.open(s.scope, beside=not s.whole)
        if isinstance(s.run, Call):
            given, self.given, label, self.label = self.given, [], self.label, "recomputed"
            function = self.schedule.by_name[s.run.function]
            arguments = [self.operand(x, own) for x in s.run.arguments]
            for _, storage in self.function(function, s.run, arguments, own):
                self.log.drop(storage, self.log.step)
            self.given, self.label = given, label

    def function(
        self, function: Function, call: Call, arguments: Sequence[TensorHeld], own: Frame
    ) -> list[TensorHeld]:
        """The results of a block function, each held once more."""
        log = self.log
        shape = self.effects.shape(function, self.schedule.by_name)
        part = own.part(call.part)
        shelf = log.shelf(part)
        prefix = full_name(call.prefix, own.prefix)
        kinds = [kind for kind, _ in arguments]
        loads = [shelf.values[name] for name in shape.loads]
        tables = {name: shelf.tables.get(name, {}) for name in shape.keeps}
        key = (
            *(id(shape), part.kind, self.label, self.apart, self.ledger, tuple(kinds)),
            tuple(kind for kind, _ in loads),
            tuple(tuple(tables[name].items()) for name in shape.keeps),
            self.effects.weights_of(shape, prefix, self.weights),
            *(log.sizes["B"], log.sizes.get("K", 0), *of_images(log.sizes)),
        )
        trace = self.effects.traces.get(key)
        if trace is None:
            trace = self._trace(shape, part.kind, prefix, kinds, loads, tables)
            self.effects.traces[key] = trace
        storages = [storage for _, storage in (*arguments, *loads)]
        names = (own.graph.get(name, name) for name in call.values)
        graph = dict(zip(shape.values, names, strict=True)) if call.values else {}
        here = call.prefix if isinstance(call.prefix, str) else call.prefix.name
        found, given = trace.replay(log, shelf, storages, here, graph)
        self.given += given
        return found

    def _trace(
        self,
        shape: Shape,
        kind: str,
        prefix: str,
        kinds: Sequence[Strided],
        loads: Sequence[TensorHeld],
        tables: Mapping[str, Tensors],
    ) -> Trace:
        """One call on a log of its own."""
        function, part = shape.function, Part(kind)
        log = Log(dict(self.log.sizes))
        every = [*kinds, *(kind for kind, _ in loads)]
        for _ in every:
            log.hold(log.allocate(0, "", ""))
        shelf = log.shelf(part)
        held = zip(every[len(kinds) :], range(len(kinds), len(every)), strict=True)
        before = dict(zip(shape.loads, held, strict=True))
        shelf.values.update(before)
        shelf.tables.update({name: dict(kept) for name, kept in tables.items() if kept})
        machine = replace(self, log=log, given=[])
        graph = {name: Local(name) for name in shape.values}
        with frame(log, part, prefix, graph) as block:
            names = (v.name for v in function.parameters)
            block.names.update(zip(names, zip(kinds, range(len(kinds)), strict=True), strict=True))
            machine.body(function.body, block)
            found = [block.names[v.name] for v in function.results]
            for _, storage in found:
                log.hold(storage)
        for name in before:
            del shelf.values[name]
        changed = frozenset(n for n, kept in shelf.tables.items() if kept != tables[n])
        return Trace(log, len(every), shelf, changed, found, machine.given)

    def _call(self, s: Call, own: Frame) -> None:
        log, function = self.log, self.schedule.by_name[s.function]
        if function.half in ("tail", "part"):
            self._part(function, s, own)
            return
        arguments = [self.operand(x, own) for x in s.arguments]
        if s.over and 0 < self.chunk < log.sizes["K"]:
            found = self._in_chunks(function, s, arguments, own)
        else:
            if s.part.kind == NEW:
                log.open(s.part.scope, beside=False)
            found = self.function(function, s, arguments, own)
        for value, (kind, storage) in zip(s.results, found, strict=True):
            own.bind(value.name, kind, storage)
            log.where[own.graph.get(value.name, value.name)] = (kind, storage)
            log.drop(storage, log.step)
        if s.part.kind == NEW:
            log.close(s.part.scope)

    def _part(self, function: Function, s: Call, own: Frame) -> None:
        """A part of a main function, which goes on with what it is handed."""
        names = (own.graph.get(name, name) for name in s.values)
        graph = dict(zip(names_made(function.body), names, strict=True)) if s.values else {}
        with frame(self.log, own.own, own.prefix, graph) as end:
            for value, x in zip(function.parameters, s.arguments, strict=True):
                end.bind(value.name, *self.operand(x, own))
            given = [s.arguments[i] for i in handed_over(function)]
            own.delete([x.name for x in given if isinstance(x, Value)])
            self.body(function.body, end)
            for value, made in zip(s.results, function.results, strict=True):
                own.bind(value.name, *end.names[made.name])

    def _in_chunks(
        self, function: Function, s: Call, arguments: Sequence[TensorHeld], own: Frame
    ) -> list[TensorHeld]:
        """`chunk` seeds at a time: kernels/chunks.py."""
        log, seeds = self.log, self.log.sizes["K"]
        before, rows = self.given, list[list[Given]]()
        whole: list[int] = []
        others = OUTSIDE  # amounts of chunks that are not run here
        found: list[TensorHeld] = []
        for first in range(0, seeds, self.chunk)[: 2 if self.brief else None]:
            count = log.sizes["K"] = min(self.chunk, seeds - first)
            given = list(arguments)
            for i in s.over:
                given[i] = (given[i][0].some(seeds, count), given[i][1])
            self.given = []
            found = self.function(function, s, given, own)
            rows.append(self.given)
            log.sizes["K"] = seeds
            if not first:
                whole = [self._room(v, x) for v, (_, x) in zip(s.results, found, strict=True)]
                for storage in whole:
                    log.hold(storage)
                if self.brief and seeds > 2 * count:
                    booked = sum(log.held[row.storage].size for row in rows[0])
                    others = log.allocate(booked * (seeds - 2 * count) // count, "result", "")
                    log.hold(others)
            log.advance(full_name(s.prefix, own.prefix)[:-1])
            for _, storage in found:
                log.drop(storage, log.step)
        self.given = before
        self._join(rows, seeds)
        log.drop(others, log.step)
        kinds = [
            Strided.contiguous(v.type, log.sizes) if of_seeds(v.type) else kind
            for v, (kind, _) in zip(s.results, found, strict=True)
        ]
        return list(zip(kinds, whole, strict=True))

    def _room(self, value: Value, storage: int) -> int:
        if not of_seeds(value.type):
            return storage
        size = Strided.contiguous(value.type, self.log.sizes).bytes
        return self.log.allocate(size, "adjoint", value.name, "", "in_chunks")

    def _join(self, rows: Sequence[Sequence[Given]], seeds: int) -> None:
        """The chunks' amounts of each row put together: of all chunks, also where they were not
        all run."""
        log, run = self.log, min(seeds, self.chunk * len(rows))
        for parts in zip(*rows, strict=True):
            size = sum(log.held[row.storage].size for row in parts) * seeds // run
            storage = log.allocate(size, "result", parts[0].place, "", "record")
            log.hold(storage)
            self.given.append(Given(parts[0].place, parts[0].kind, storage))
        if rows[0]:
            log.advance()
        for row in (row for parts in zip(*rows, strict=True) for row in parts):
            log.drop(row.storage, log.step)
