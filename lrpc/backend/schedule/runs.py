"""Runs of statements that two functions have in common, and what of them can be a function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lrpc.backend.schedule.extent import Extent
from lrpc.backend.schedule.ir import Function, Statement
from lrpc.backend.schedule.same import plain, value_names
from lrpc.backend.schedule.walk import frees


@dataclass(frozen=True)
class Run:
    """Consecutive statements of a function: from `start` on, so many."""

    function: Function
    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length

    @property
    def body(self) -> tuple[Statement, ...]:
        return self.function.body[self.start : self.end]

    @property
    def last(self) -> bool:
        """Whether it is the end of the whole calculation; a part's end is not, for its results are
        used."""
        return self.end == len(self.function.body) and self.function.half != "part"


@dataclass(frozen=True, eq=False)
class Lines:
    """A function as numbers: what each statement does, and how far back each of its names came
    before, in names. Statements are alike from two places on where both agree, if a name that came
    before the place counts as new."""

    function: Function
    extent: Extent
    does: list[int]
    back: list[tuple[int, ...]]
    count: list[int]  # names before each statement
    starts: list[int] = field(default_factory=list)  # a number for what the fewest do from there
    places: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    def link(self, place: int, start: int) -> tuple[int, ...]:
        """How far back the names of a statement came, from a start on; 0 for new ones."""
        since = self.count[place] - self.count[start]
        back = self.back[place]
        if not back or max(back) <= since:
            return back
        return tuple(d if d <= since + i else 0 for i, d in enumerate(back))

    def alike(self, place: int, start: int, other: Lines, shift: int) -> bool:
        """Whether a statement is like the other's `shift` places before, both from a start on."""
        there = place - shift
        return (
            there < len(other.does)
            and self.does[place] == other.does[there]
            and self.link(place, start) == other.link(there, start - shift)
        )


@dataclass
class Runs:
    """The runs, of `fewest` statements at least, that functions have in common. What is found out
    about a function, or about two of them, is found out once."""

    fewest: int
    _numbers: dict[object, int] = field(default_factory=dict)
    _lines: dict[int, Lines] = field(default_factory=dict)  # by the id of the function
    _pairs: dict[tuple[int, int], list[tuple[int, int, int]]] = field(default_factory=dict)

    def lines(self, function: Function) -> Lines:
        """A function as numbers."""
        found = self._lines.get(id(function))
        if found is None:
            does, back, count, last = [], [], [0], dict[str, int]()
            for s in function.body:
                does.append(self._number(plain(s)))
                names = value_names(s)
                back.append(tuple(_back(names, count[-1], last)))
                count.append(count[-1] + len(names))
            found = Lines(function, Extent(function), does, back, count)
            self._windows(found)
            self._lines[id(function)] = found
        return found

    def _number(self, key: object) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def common(self, a: Function, b: Function, least: int) -> Iterator[Run]:
        """Runs of the first function, of this length at least, that are in the second one as well
        and can be a function of their own."""
        done: dict[int, int] = {}  # by how far apart the places are: up to where runs are known
        for i, j, most in self._places(a, b):
            if most < least or i < done.get(i - j, 0):
                continue
            length = self._fitting(a, i, b, j, most, least)
            if length:
                done[i - j] = i + length
                yield Run(a, i, length)

    def _fitting(self, a: Function, i: int, b: Function, j: int, length: int, least: int) -> int:
        """How many statements can be a function of their own; 0 for fewer than `least`."""
        x, y = self.lines(a).extent, self.lines(b).extent
        while length >= least and not (x.whole(i, i + length) and y.whole(j, j + length)):
            length -= 1
        alike = Run(a, i, length).last == Run(b, j, length).last
        return length if length >= least and alike else 0

    def _places(self, a: Function, b: Function) -> list[tuple[int, int, int]]:
        """Where statements of both are the same, and how many from there on that use nothing from
        before that a function cannot be handed."""
        key = (id(a), id(b))
        if key not in self._pairs:
            self._pairs[key] = list(self._alike(self.lines(a), self.lines(b)))
        return self._pairs[key]

    def _alike(self, a: Lines, b: Lines) -> Iterator[tuple[int, int, int]]:
        ends: dict[int, int] = {}  # by how far apart the places are: up to where they are the same
        for i, number in enumerate(a.starts):
            for j in b.places.get(number, ()):
                end = max(i + self.fewest, ends.get(i - j, 0))
                while end < len(a.does) and a.alike(end, i, b, i - j):
                    end += 1
                ends[i - j] = end
                length = min(end, a.extent.reach[i], b.extent.reach[j] + i - j) - i
                if length >= self.fewest:
                    yield i, j, length

    def _windows(self, lines: Lines) -> None:
        """Number what the fewest statements from each place on do, and note the places by that."""
        for i in range(len(lines.does) - self.fewest + 1):
            every = range(i, i + self.fewest)
            links = tuple(lines.link(k, i) for k in every)
            number = self._number(("from", *lines.does[i : every.stop], links))
            lines.starts.append(number)
            if not frees(lines.function.body[i]):
                lines.places[number].append(i)

    def same(self, part: Function, run: Run) -> bool:
        """Whether a run, which can be a function of its own, has the statements of a part."""
        a, b, start, end = self.lines(part), self.lines(run.function), run.start, run.end
        if a.does[0] != b.does[start] or a.does != b.does[start:end]:
            return False
        links = (a.link(k, 0) == b.link(start + k, start) for k in range(run.length))
        return all(links) and b.extent.whole(start, end)


def _back(names: Sequence[str], count: int, last: dict[str, int]) -> Iterator[int]:
    """How far back each name came before, 0 for new ones; `last` is where each came last."""
    for i, name in enumerate(names, count):
        yield i - last[name] if name in last else 0
        last[name] = i
