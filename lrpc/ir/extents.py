"""Integers that depend on the sizes of a model's inputs, such as a height of any multiple of 32.

An extent is a polynomial with integer coefficients in the sizes, each counted in its step, so that
sums, products and the divisions of strides and windows stay exact. It is an `int` as well: what it
is for the example. Code that asks which of two is larger decides by the example.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import gcd, prod
from typing import Any

Powers = tuple["Size", ...]
"""A product of sizes, sorted; one that is squared stands there twice."""


@dataclass(frozen=True, order=True, slots=True)
class Size:
    """One size of an input: its name, the step that it goes in, and what it is for the example."""

    name: str
    step: int
    example: int


FURTHER = 7  # steps


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
        value = sum(c * prod(s.example // s.step for s in powers) for powers, c in kept.items())
        made = int.__new__(Extent, value)
        made.terms = kept
        return made

    @staticmethod
    def size(size: Size) -> int:
        """The size itself."""
        return Extent.of({(size,): size.step})

    def at(self, sizes: Mapping[str, int]) -> int:
        """The extent for given sizes; those that are not given are as in the example."""
        return sum(
            c * prod(sizes.get(s.name, s.example) // s.step for s in powers)
            for powers, c in self.terms.items()
        )

    def sizes(self) -> set[Size]:
        """The sizes in it."""
        return {size for powers in self.terms for size in powers}

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
        if isinstance(other, Extent) and len(other.terms) == 1:
            return self._over_product(other), 0
        if isinstance(other, Extent) or any(c % other for p, c in self.terms.items() if p):
            raise NotInSteps(f"{self} is not divided evenly by {other} at all sizes")
        quotient, rest = divmod(self.terms.get((), 0), other)
        even = {p: c // other for p, c in self.terms.items() if p}
        return Extent.of({**even, (): quotient}), rest

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
        """A number that the extent is nowhere below: what it is at sizes of one step, where it
        grows with all of them; 0 where it does not."""
        grows = all(c > 0 for powers, c in self.terms.items() if powers)
        return max(sum(self.terms.values()), 0) if grows else 0

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

    def text(self, times: str = "*", over: str = "/", plus: str = "+") -> str:
        """The sizes themselves instead of their steps: `21*H*W/1024`."""
        parts = []
        for powers, c in sorted(self.terms.items(), key=lambda term: -len(term[0])):
            below = prod(size.step for size in powers)
            common = gcd(c, below)
            up, down = c // common, below // common
            factors = ([str(up)] if up != 1 or not powers else []) + [s.name for s in powers]
            parts.append(times.join(factors) + (f"{over}{down}" if down != 1 else ""))
        return plus.join(parts)


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
        found = default if x is None else x + extent if x < 0 else x
        return min(max(found, 0), extent)

    return place(start, 0), place(stop, extent), 1 if step is None else step


def grid(sizes: Sequence[Size]) -> Iterator[dict[str, int]]:
    """The points at which `fitted` needs numbers: the example, and each choice of longer sizes."""
    for more in product((False, True), repeat=len(sizes)):
        yield {s.name: s.example + s.step * longer for s, longer in zip(sizes, more, strict=True)}


def beyond(sizes: Sequence[Size]) -> dict[str, int]:
    """Sizes at which what was `fitted` shows whether it holds: floors grow later than the grid."""
    return {s.name: s.example + FURTHER * s.step for s in sizes}


def fitted(numbers: Sequence[int], sizes: Sequence[Size]) -> int:
    """The extent that takes these values on `grid(sizes)`, with no size squared."""
    if all(n == numbers[0] for n in numbers):
        return numbers[0]
    points = list(product((0, 1), repeat=len(sizes)))
    values = dict(zip(points, numbers, strict=True))
    found = 0
    for point in points:
        # The difference over the sizes of this point: how fast the extent grows in all of them.
        slope = sum(
            (-1) ** (sum(point) - sum(lower)) * values[lower]
            for lower in product(*((0, 1) if p else (0,) for p in point))
        )
        factors = (
            Extent.of({(s,): 1}) - s.example // s.step
            for s, p in zip(sizes, point, strict=True)
            if p
        )
        found = found + reduce(lambda a, b: a * b, factors, slope)
    return found


def sizes_in(values: Iterable[object]) -> list[Size]:
    """The sizes that integers anywhere among `values` depend on, in order."""
    found: set[Size] = set()
    for value in values:
        if isinstance(value, Extent):
            found |= value.sizes()
        elif isinstance(value, (tuple, list)):
            found.update(sizes_in(value))
    return sorted(found)
