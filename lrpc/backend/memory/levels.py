"""What a block may leave kept between everything and nothing: bytes against work to recompute.

Which values to keep and which statements to recompute, at a price for a byte, is a least cut (the
selection problem of Rhys 1970, 10.1287/mnsc.17.3.200): a statement that runs needs all that it
reads, and what is needed is kept or made. Raising the price from 0 gives the lower convex hull of
all choices, found corner by corner between two known ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from passes.min_cut import FROM, NO_BOUND, TO, Room, above

MUCH = NO_BOUND >> 50  # a price of bytes that no work comes near


@dataclass(frozen=True)
class Step:
    """A statement: its cost, the values that it reads, those that it makes."""

    work: int
    reads: tuple[str, ...]
    makes: tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """A choice: the values kept, the recomputed steps by number, their work and the kept bytes."""

    values: frozenset[str]
    steps: frozenset[int]
    work: int
    size: int


@dataclass(frozen=True)
class Block:
    """Steps in order, the bytes of what has to be paid for where it is kept, and what has to be
    there in the end. A value that no step makes is kept where a step that runs reads it."""

    steps: Sequence[Step]
    size: Mapping[str, int]
    needed: frozenset[str]

    @cached_property
    def maker(self) -> Mapping[str, int]:
        """The step that makes each value."""
        return {value: i for i, step in enumerate(self.steps) for value in step.makes}

    def kept(self, steps: frozenset[int]) -> Kept:
        """The choice that recomputes these steps."""
        wanted = {*self.needed, *(v for i in steps for v in self.steps[i].reads)}
        values = frozenset(v for v in wanted if self.maker.get(v, -1) not in steps)
        work = sum(self.steps[i].work for i in steps)
        return Kept(values, steps, work, sum(self.size.get(v, 0) for v in values))

    def best(self, work: int, size: int) -> Kept:
        """The choice of the least cost at these prices for work and for a byte; of equals the one
        that runs the fewest steps."""
        room: Room = {FROM: {}, TO: {}}
        for value in (*self.needed, *(v for step in self.steps for v in step.reads)):
            if (value, 0) not in room:
                maker = self.maker.get(value)
                end = TO if maker is None else (f"#{maker}", 1)
                room[value, 0] = {end: size * self.size.get(value, 0)}
        for value in self.needed:
            room[FROM][value, 0] = NO_BOUND
        for i, step in enumerate(self.steps):
            ends = room.setdefault((f"#{i}", 1), {})
            ends.update(((value, 0), NO_BOUND) for value in step.reads)
            ends[TO] = work * step.work
        found = above(room)
        return self.kept(frozenset(int(name[1:]) for name, side in found if side == 1))

    def least(self) -> Kept:
        """The choice that keeps the fewest bytes of what the steps make, whatever they read."""
        made = {value: size for value, size in self.size.items() if value in self.maker}
        found = replace(self, size=made).best(1, MUCH)
        return self.kept(found.steps)


def hull(block: Block) -> list[Kept]:
    """The choices that are best at some price of a byte, from all kept to the least bytes."""
    first, last = block.kept(frozenset()), block.best(1, MUCH)
    return [first, *_between(block, first, last), last] if last.size < first.size else [first]


def _between(block: Block, low: Kept, high: Kept) -> list[Kept]:
    """Those strictly below the line from one choice to another, which keeps less."""
    work, size = high.work - low.work, low.size - high.size
    found = block.best(size, work)
    if size * found.work + work * found.size >= size * low.work + work * low.size:
        return []
    return [*_between(block, low, found), found, *_between(block, found, high)]
