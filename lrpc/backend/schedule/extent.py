"""From where to where statements of a function can be a function of their own."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from lrpc.backend.schedule.ir import RECOMPUTED, Call, Free, Function, Load, Only, Recompute
from lrpc.backend.schedule.walk import frees, operands, reads, results

BEFORE = -1  # where parameters are made


@dataclass(frozen=True, eq=False)
class Extent:
    """Where the statements of a function make, read and free what, by their places in it."""

    function: Function
    made: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    read: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    freed: dict[str, dict[bool, int]] = field(default_factory=lambda: defaultdict(dict))
    again: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    used: list[tuple[int, str]] = field(default_factory=list)  # parts that are computed again
    given_back: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    partly: dict[str, dict[bool, list[int]]] = field(default_factory=dict)  # with a ledger, without

    def __post_init__(self) -> None:
        for place, s in enumerate(self.function.body):
            for v in results(s):
                self.made[v.name].append(place)
                if isinstance(s, Only):
                    kinds = self.partly.setdefault(v.name, {False: [], True: []})
                    kinds[s.ledger].append(place)
            for name in reads(s):
                self.read[name].append(place)
            parts = {x.entry.part for x in operands(s) if isinstance(x, Load)}
            parts |= {s.part} if isinstance(s, Call) else set()
            self.used.extend((place, part.scope) for part in parts if part.kind == RECOMPUTED)
            if isinstance(s, Recompute):
                self.again[s.scope].append(place)
            for x in s.body if isinstance(s, Only) else (s,):
                for name in x.values if isinstance(x, Free) else ():
                    for ledger in (s.ledger,) if isinstance(s, Only) else (False, True):
                        self.freed[name].setdefault(ledger, place)
            for scope in s.parts if isinstance(s, Free) else ():
                self.given_back[scope].append(place)
        for v in self.function.results:
            self.read[v.name].append(self.end)

    @property
    def end(self) -> int:
        return len(self.function.body)

    @cached_property
    def half_freed(self) -> dict[str, tuple[int, int]]:
        """What is freed with a ledger and without at different places: from where to where it is
        there in one kind of call alone."""
        found = {}
        for name, places in self.freed.items():
            low, *high = sorted({*places.values()})
            if high or len(places) == 1:
                found[name] = (low, high[0] if high else self.end)
        return found

    @cached_property
    def reach(self) -> list[int]:
        """For each start: up to where statements use nothing from before it that a function cannot
        be handed: what there is in one kind of call alone, parts that are computed again."""
        found = [self.end] * self.end
        after = list(range(self.end + 1))  # the next start without an end so far
        for place, low, high in sorted(self._missing()):
            start = low
            while (start := _next(after, start)) <= high:
                found[start], after[start] = place, start + 1
        return found

    def _missing(self) -> Iterator[tuple[int, int, int]]:
        """Places, with the first and the last start from which they use what is missing."""
        for place, scope in self.used:
            yield place, _last(self.again[scope], place) + 1, place
        for name, kinds in self.partly.items():
            for place in self.read[name]:
                # Made at different places with a ledger and without, it is there from the later on.
                known = [at for made in kinds.values() if (at := _last(made, place)) > BEFORE]
                first = min(known, default=BEFORE)
                yield place, first + 1, min(place, self.end - 1)
        for name, (low, high) in self.half_freed.items():
            for place in self.read[name]:
                yield place, low + 1, min(high, place, self.end - 1)

    @cached_property
    def _after(self) -> list[int]:
        """For each end: the last place before it that makes, under a condition, what is read after
        it; -1 for none."""
        found = [BEFORE] * (self.end + 1)
        for name in self.partly:
            for made in self.made[name]:
                for end in range(made + 1, max(self.read[name], default=made) + 1):
                    found[end] = max(found[end], made)
        return found

    @cached_property
    def _half(self) -> list[list[tuple[str, int]]]:
        """For each end: what has been freed in one kind of call alone, and where."""
        found: list[list[tuple[str, int]]] = [[] for _ in range(self.end + 1)]
        for name, (low, high) in self.half_freed.items():
            for end in range(low + 1, high + 1) if name not in self.partly else ():
                found[end].append((name, low))
        return found

    def whole(self, start: int, end: int) -> bool:
        """Whether statements use and make nothing but values that are there with a ledger and
        without, and freed in both or in neither; make what they compute again of the state
        themselves, and free it."""
        if end - start == self.end or end > self.reach[start] or start <= self._after[end]:
            return False
        if any(frees(s) for place in (start, end) for s in self.function.body[place : place + 1]):
            return False
        if any(
            self._crosses(name, start, end) for name, place in self._half[end] if start <= place
        ):
            return False
        return all(
            _within(self.again[scope], start, end) == _within(self.given_back[scope], start, end)
            for scope in {*self.again, *self.given_back}
        )

    def _crosses(self, name: str, start: int, end: int) -> bool:
        """Whether a value is made before and read there, or made there and read after."""
        if self.made[name] and self.made[name][0] >= start:
            return bool(self.read[name]) and self.read[name][-1] >= end
        return _within(self.read[name], start, end)


def _next(after: list[int], start: int) -> int:
    """The next start without an end, from one on."""
    while after[start] != start:
        after[start] = start = after[after[start]]
    return start


def _last(places: list[int], before: int) -> int:
    """The last of the places before one, -1 for none."""
    at = bisect_left(places, before)
    return places[at - 1] if at else BEFORE


def _within(places: list[int], start: int, end: int) -> bool:
    return bisect_left(places, start) < bisect_left(places, end)
