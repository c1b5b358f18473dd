"""Runs the main functions of a program, and the block functions that they call, on a tape.

This follows the text of a program line by line (`lrpc/backend/functions.py` writes it).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from lrpc.backend.body import last_uses
from lrpc.backend.functions import needed_later, of_seeds
from lrpc.backend.inplace import overwrites
from lrpc.backend.memory.effect import Strided
from lrpc.backend.memory.tape import OUTSIDE, Tape
from lrpc.backend.recompute import Windows, windows
from lrpc.backend.saved import Saved
from lrpc.backend.segments import Segment, cut
from lrpc.ir.graph import Node, Value


@dataclass
class Frame:
    """The locals of one function."""

    tape: Tape
    names: dict[str, int] = field(default_factory=dict)

    def bind(self, name: str, storage: int) -> None:
        self.tape.hold(storage)
        self.names[name] = storage

    def delete(self, names: Iterable[str], end: int) -> None:
        for name in names:
            if name in self.names:
                self.tape.drop(self.names.pop(name), end)


@contextmanager
def frame(tape: Tape) -> Iterator[Frame]:
    """A function's locals, which are gone when it returns."""
    own = Frame(tape)
    yield own
    own.delete(list(own.names), tape.step)


Given = list[tuple[str, int]]  # what reads and records hand out: name, storage


@dataclass
class Main:
    """The main function of one half. `chunk`: how many seeds a block function takes at a time, 0
    for all of them; the first two chunks alone where it is `brief`."""

    tape: Tape
    saved: Saved
    forward: bool
    chunk: int
    locals: Frame
    given: Given = field(default_factory=list)
    brief: bool = False

    def run(self, nodes: Sequence[Node], keep: Sequence[str]) -> Given:
        """All of it; values named in `keep` are there at its end."""
        segments = cut(nodes, self.forward, self.saved.again.segments)
        turns = Windows({}, {})
        if not self.forward:
            turns = windows(segments, self.saved.wanted, list(self.saved.again.segments))
        for i, (segment, later) in enumerate(
            zip(segments, needed_later(segments, keep), strict=True)
        ):
            if segment.key:
                self._open(turns.before.get((i, 0), ()))
                self._block(segment, later)
                gone = [v.name for v in segment.reads() if v.name not in later]
                self.locals.delete(gone, self.tape.step)
                self._close(turns.after.get((i, 0), ()))
                continue
            dying = last_uses(segment.nodes, later)
            saves = self.saved.inside("") if self.forward else {}
            over = overwrites(segment.nodes, later | saves.keys())
            for j, (node, dead) in enumerate(zip(segment.nodes, dying, strict=True)):
                self._open(turns.before.get((i, j), ()))
                there = (self.locals, self.saved.scopes, self.given)
                self._statement(node, dead, over[j], *there, saves)
                self._close(turns.after.get((i, j), ()))
        return self.given

    def _open(self, keys: Sequence[str]) -> None:
        """Segments of the forward pass are computed again, each into a dict of its own."""
        for key in keys:
            tape, saved = self.tape, self.saved
            segment, whole = saved.again.segments[key], key in saved.again.whole
            stored = {v.name: tape.where[v.name] for v in segment.made() if v.name in saved.kept}
            tape.open_shelf(key, beside=not whole)
            half = replace(self, forward=True)
            with frame(tape) as block:
                half.function(segment, half.results(segment, set()), block, [], "again")
            tape.where.update(stored)

    def _close(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.tape.close_shelf(key)

    def results(self, segment: Segment, later: set[str]) -> list[Value]:
        """What the function of a segment gives its caller."""
        whole = self.forward and segment.key in self.saved.again.whole
        wanted = self.saved.again.kept if whole else later
        return [v for v in segment.made() if v.name in wanted]

    def function(
        self, segment: Segment, results: Sequence[Value], own: Frame, given: Given, part: str = ""
    ) -> None:
        """The statements of a block function; `part` is `again` where relevance runs one of the
        forward pass."""
        handed = {v.name for v in results}
        dying = last_uses(segment.nodes, handed)
        reach = (segment.key if part else self.saved.scope(segment),)
        saves = self.saved.inside(segment.key, bool(part)) if self.forward else {}
        over = overwrites(segment.nodes, handed | saves.keys())
        for node, dead, operand in zip(segment.nodes, dying, over, strict=True):
            self._statement(node, dead, operand, own, reach, given, saves, part)

    def _block(self, segment: Segment, later: set[str]) -> None:
        tape, results = self.tape, self.results(segment, later)
        if not self.forward and 0 < self.chunk < tape.sizes["K"]:
            over = [v for v in segment.reads() if of_seeds(v)]
            if over:
                self._in_chunks(segment, results, over)
                return
        whole = self.forward and segment.key in self.saved.again.whole
        if whole:
            tape.open_shelf(segment.key)
        with frame(tape) as block:
            self.function(segment, results, block, self.given)
            for value in results:
                self.locals.bind(value.name, tape.where[value.name][1])
        if whole:
            for value in results:
                if value.name in self.saved.kept:
                    storage = tape.where[value.name][1]
                    tape.hold(storage)
                    tape.label(storage, "state")
            tape.close_shelf(segment.key)

    def _in_chunks(self, segment: Segment, results: Sequence[Value], over: Sequence[Value]) -> None:
        """`chunk` seeds at a time: kernels/chunks.py."""
        tape, seeds = self.tape, self.tape.sizes["K"]
        found = {v.name: tape.where[v.name] for v in over}
        whole: dict[str, int] = {}
        rows: list[Given] = []
        others = OUTSIDE  # amounts of chunks that are not run here
        for first in range(0, seeds, self.chunk)[: 2 if self.brief else None]:
            count = tape.sizes["K"] = min(self.chunk, seeds - first)
            for name, (kind, storage) in found.items():
                tape.where[name] = (_stretch(kind, seeds, count), storage)
            with frame(tape) as block:
                rows.append([])
                self.function(segment, results, block, rows[-1])
                made = [tape.where[v.name][1] for v in results]
                for storage in made:
                    tape.hold(storage)
            tape.sizes["K"] = seeds
            if not first:
                whole = {v.name: self._room(v, m) for v, m in zip(results, made, strict=True)}
                for storage in whole.values():
                    tape.hold(storage)
                if self.brief and seeds > 2 * count:
                    booked = sum(tape.held[storage].size for _, storage in rows[0])
                    others = tape.allocate(booked * (seeds - 2 * count) // count, "result", "")
                    tape.hold(others)
            tape.advance(segment.block)
            for storage in made:
                tape.drop(storage, tape.step)
        tape.where.update(found)
        for value in results:
            kind, storage = tape.where[value.name][0], whole[value.name]
            if of_seeds(value):
                kind = Strided.contiguous(value.type, tape.sizes)
            tape.where[value.name] = (kind, storage)
            self.locals.bind(value.name, storage)
            tape.drop(storage, tape.step)
        self._join(rows, seeds)
        tape.drop(others, tape.step)

    def _room(self, value: Value, made: int) -> int:
        if not of_seeds(value):
            return made
        size = Strided.contiguous(value.type, self.tape.sizes).bytes
        return self.tape.allocate(size, "adjoint", value.name, "", "in_chunks")

    def _join(self, rows: Sequence[Given], seeds: int) -> None:
        """The chunks' amounts of each record put together: of all chunks, also where they were not
        all run."""
        tape, run = self.tape, min(seeds, self.chunk * len(rows))
        for parts in zip(*rows, strict=True):
            size = sum(tape.held[storage].size for _, storage in parts) * seeds // run
            storage = tape.allocate(size, "result", parts[0][0], "", "record")
            tape.hold(storage)
            self.given.append((parts[0][0], storage))
        if rows[0]:
            tape.advance()
        for parts in zip(*rows, strict=True):
            for _, storage in parts:
                tape.drop(storage, tape.step)

    def _statement(
        self,
        node: Node,
        dead: Sequence[Value],
        over: int | None,
        own: Frame,
        reach: Sequence[str],
        given: Given,
        saves: Container[str],
        part: str = "",
    ) -> None:
        tape, saved = self.tape, self.saved
        first = self.forward and not part
        half = "value" if self.forward else "adjoint"
        part = "result" if not node.outputs else part or half
        places = tape.node(node, part, saved.tables(node, reach, first), over)
        for value, place in zip(node.outputs, places, strict=False):
            own.bind(value.name, place)
            if value.name in saves:
                tape.save(saved.places[value.name][0], place)
        if not node.outputs:
            tape.hold(places[0])
            given.append((str(node.attr("name") or ""), places[0]))
        tape.advance(node.loc.module)
        own.delete([v.name for v in dead], tape.step)


def _stretch(kind: Strided, seeds: int, count: int) -> Strided:
    """The part of some of the seeds."""
    first, *rest = kind.shape
    return Strided((first // seeds * count, *rest), kind.strides, kind.dtype)
