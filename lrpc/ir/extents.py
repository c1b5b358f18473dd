"""Integers that depend on the sizes of a model's inputs, such as a height of any multiple of 32.

An extent is a polynomial with integer coefficients in the sizes, each counted in its step, so that
sums, products and the divisions of strides and windows stay exact. Where a size has a period above
one, floors of it over so many steps are in it too: what a stride makes of an odd number of steps.
It is an `int` as well: what it is for the example. Code that asks which of two is larger decides by
the example.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise, product
from math import gcd, prod
from typing import Any

from lrpc.ir.sizes import Size, Units, parts_of

Powers = tuple[Units, ...]
"""A product of sizes, sorted; one that is squared stands there twice."""


class NotInSteps(ArithmeticError):
    """A division that does not come out even for all sizes."""


class Extent(int):
    """A polynomial in sizes. Equal to another of the same polynomial alone."""

    terms: Mapping[Powers, int]

    @staticmethod
    def of(terms: Mapping[Powers, int]) -> int:
        """The polynomial with these terms; a plain integer where no size is in it."""
        kept = {powers: c for powers, c in sorted(terms.items()) if c}
        if not any(kept):
            return kept.get((), 0)
        value = sum(c * prod(u.example for u in powers) for powers, c in kept.items())
        made = int.__new__(Extent, value)
        made.terms = kept
        return made

    @staticmethod
    def size(size: Size) -> int:
        """The size itself."""
        return Extent.of({(Units(size),): size.step})

    def at(self, sizes: Mapping[str, int]) -> int:
        """The extent for given sizes; those that are not given are as in the example."""
        return sum(
            c * prod(u.at(sizes.get(u.size.name, u.size.example)) for u in powers)
            for powers, c in self.terms.items()
        )

    def sizes(self) -> set[Size]:
        """The sizes in it."""
        return {units.size for powers in self.terms for units in powers}

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        found = dict(self.terms)
        for powers, c in terms_of(other).items():
            found[powers] = found.get(powers, 0) + c
        return Extent.of(found)

    def __neg__(self) -> int:
        return Extent.of({powers: -c for powers, c in self.terms.items()})

    def __sub__(self, other: Any) -> Any:
        return self + -other if isinstance(other, int) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return -self + other if isinstance(other, int) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        found: dict[Powers, int] = {}
        for (a, c), (b, d) in product(self.terms.items(), terms_of(other).items()):
            powers = tuple(sorted((*a, *b)))
            found[powers] = found.get(powers, 0) + c * d
        return Extent.of(found)

    def __truediv__(self, other: Any) -> Any:
        raise NotInSteps(f"{self} over {other} is no integer at all sizes")

    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        if isinstance(other, int) and 0 <= other < 8 and not isinstance(other, Extent):
            return prod([self] * other)
        raise NotInSteps(f"{self} to the power of {other} is no polynomial")

    def __rpow__(self, other: Any, modulo: Any = None) -> Any:
        raise NotInSteps(f"{other} to the power of {self} is no polynomial")

    __rtruediv__ = __truediv__
    __radd__ = __add__
    __rmul__ = __mul__

    def __divmod__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        if isinstance(other, Extent) and known(self, 0) and known(other - self, 1):
            return 0, self  # such as a place in an axis
        if isinstance(other, Extent) and len(other.terms) == 1:
            return self._over_product(other), 0
        if isinstance(other, Extent):
            raise NotInSteps(f"{self} is not divided evenly by {other} at all sizes")
        even = Extent.of({p: c // other for p, c in self.terms.items() if p and not c % other})
        rest = Extent.of({p: c for p, c in self.terms.items() if not p or c % other})
        quotient = even + (_floor(rest, other) if isinstance(rest, Extent) else rest // other)
        return quotient, self - quotient * other

    def _over_product(self, other: Extent) -> int:
        ((own, factor),) = other.terms.items()
        found: dict[Powers, int] = {}
        for powers, c in self.terms.items():
            rest = list(powers)
            for size in own:
                if size not in rest:
                    raise NotInSteps(f"{self} is not divided evenly by {other} at all sizes")
                rest.remove(size)
            if c % factor:
                raise NotInSteps(f"{self} is not divided evenly by {other} at all sizes")
            found[tuple(rest)] = c // factor
        return Extent.of(found)

    def __floordiv__(self, other: Any) -> Any:
        both = self.__divmod__(other)
        return both if both is NotImplemented else both[0]

    def __mod__(self, other: Any) -> Any:
        both = self.__divmod__(other)
        return both if both is NotImplemented else both[1]

    def __rdivmod__(self, other: Any) -> Any:
        """Of what is nearer to 0 than the extent is at any sizes, as of a place in an axis."""
        if not isinstance(other, int) or not -self.least() <= other < self.least():
            raise NotInSteps(f"{other} over {self} does not come out alike at all sizes")
        return (0, other) if other >= 0 else (-1, self + other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self.__rdivmod__(other)[0]

    def __rmod__(self, other: Any) -> Any:
        return self.__rdivmod__(other)[1]

    def least(self) -> int:
        """The least that the extent is at any sizes, as far as that is known: where it grows with
        all of them, or depends on one alone and grows over its period. 0 where it is less."""
        return max(lowest(self) or 0, 0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Extent) and self.terms == other.terms

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return int.__hash__(self)

    def __reduce__(self) -> Any:
        return Extent.of, (dict(self.terms),)

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def text(self) -> str:
        """The sizes themselves instead of their steps: `21*H*W/1024`, `H/8+((H+32)//64)`."""
        parts = []
        for powers, c in sorted(self.terms.items(), key=lambda term: -len(term[0])):
            below = prod(units.size.step for units in powers if units.over == 1)
            common = gcd(c, below)
            up, down = c // common, below // common
            factors = [str(up)] if up != 1 or not powers else []
            factors += [units.factor for units in powers]
            parts.append("*".join(factors) + (f"/{down}" if down != 1 else ""))
        return "+".join(parts)


def terms_of(number: int) -> Mapping[Powers, int]:
    """The terms of an integer, whether it depends on sizes or not."""
    return number.terms if isinstance(number, Extent) else {(): number}


def at(number: int, sizes: Mapping[str, int]) -> int:
    """An integer for given sizes."""
    return number.at(sizes) if isinstance(number, Extent) else number


def indices(pick: slice, extent: int) -> tuple[int, int, int]:
    """`pick.indices(extent)`, of extents that depend on sizes as well."""
    start, stop, step = pick.start, pick.stop, pick.step
    if not any(isinstance(x, Extent) for x in (start, stop, extent)):
        return pick.indices(extent)
    if step is not None and step < 1:
        raise NotInSteps("a slice with a step below 1")

    def place(x: int | None, default: int) -> int:
        found = max(default if x is None else x + extent if x < 0 else x, 0)
        return extent if known(found - extent, 0) else min(found, extent)

    return place(start, 0), place(stop, extent), 1 if step is None else step


def line(found: Sequence[int], size: Size) -> int:
    """The extent that takes these values from the example on, step by step: from one to the next a
    number grows by an amount of its own for each place in the period."""
    first = size.example // size.step % (len(found) - 1)
    grown = [b - a for a, b in pairwise(found)]
    growth = grown[-first:] + grown[:-first] if first else grown  # from place 0 of the period on
    made = found[0]
    for units, amount in parts_of(size, growth):
        made = made + amount * (Extent.of({(units,): 1}) - units.example)
    return made


def lowest(number: int) -> int | None:
    """The least that a number is at any sizes of one step or more; None where that is not known."""
    if not isinstance(number, Extent):
        return number
    sizes = number.sizes()
    if all(c > 0 for powers, c in number.terms.items() if powers):
        return number.at({size.name: size.step for size in sizes})
    if len(sizes) > 1 or any(len(powers) > 1 for powers in number.terms):
        return None
    (size,) = sizes
    first = [number.at({size.name: size.step * n}) for n in range(1, size.period + 2)]
    return min(first) if first[-1] >= first[0] else None


def known(number: int, least: int) -> bool:
    """Whether a number is known to be no less than this at any sizes."""
    found = lowest(number)
    return found is not None and found >= least


@lru_cache(maxsize=4096)
def _floor(above: Extent, below: int) -> int:
    """The floor of numbers that depend on one size over an integer; NotInSteps where it is no
    extent, which is where `above` does not grow by a multiple of it within a period."""
    sizes = above.sizes()
    refusal = NotInSteps(f"{above} is not divided evenly by {below} at all sizes")
    if len(sizes) > 1 or any(len(powers) > 1 for powers in above.terms) or below < 1:
        raise refusal
    (size,) = sizes
    lengths = [size.example + size.step * more for more in range(size.period + 1)]
    numbers = [above.at({size.name: length}) for length in lengths]
    if (numbers[-1] - numbers[0]) % below:
        raise refusal
    return line([n // below for n in numbers], size)


def sizes_in(values: Iterable[object]) -> list[Size]:
    """The sizes that integers anywhere among `values` depend on, in order."""
    found: set[Size] = set()
    for value in values:
        if isinstance(value, Extent):
            found |= value.sizes()
        elif isinstance(value, (tuple, list)):
            found.update(sizes_in(value))
    return sorted(found)
