"""Python's fractions of sizes, such as half a height less one half, or one over a width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, combinations, product

from lrpc.frontend.sizes import Varying
from lrpc.ir.extents import Extent, at, terms_of
from lrpc.ir.fitting import fits
from lrpc.ir.sizes import SHORT, Size, Units

LIMIT = 10_000
"""The largest number below a fraction in a ratio, once the sizes are taken out of it."""

ROUNDED = 8 * 2.0**-52
"""How far Python's arithmetic may be off, relatively."""


class NoRatio(Exception):
    """A number is of no form that programs compute of sizes."""

    def __str__(self) -> str:
        one, other = self.args
        return f"{one:.6g} at one and {other:.6g} at another"


@dataclass(frozen=True, slots=True)
class Ratio:
    """A polynomial in sizes over another: a float that model code computes of sizes."""

    top: int
    below: int

    def __add__(self, other: Ratio | float) -> Ratio:
        o = of(other)
        return Ratio(self.top * o.below + o.top * self.below, self.below * o.below)

    def __sub__(self, other: Ratio | float) -> Ratio:
        o = of(other)
        return Ratio(self.top * o.below - o.top * self.below, self.below * o.below)

    def __rsub__(self, other: float) -> Ratio:
        return of(other) - self

    def __mul__(self, other: Ratio | float) -> Ratio:
        o = of(other)
        return Ratio(self.top * o.top, self.below * o.below)

    __radd__, __rmul__ = __add__, __mul__

    def equals(self, number: int) -> bool:
        """Whether it is this integer at all sizes."""
        return self.top - number * self.below == 0


def of(number: Ratio | float) -> Ratio:
    """A number as a ratio."""
    if isinstance(number, Ratio):
        return number
    if isinstance(number, int):
        return Ratio(number, 1)
    exact = Fraction(number).limit_denominator(LIMIT)
    exact = exact if _close(exact, number) else Fraction(number)
    return Ratio(exact.numerator, exact.denominator)


def ratio(numbers: Sequence[float], varying: Varying) -> Ratio:
    """The ratio that is each of these at the points of `varying`; NoRatio where none is found.

    Tried are polynomials, those over a size or the product of two, and what is one over these; of
    several that fit, the one of the fewest terms is taken.
    """
    refusal = NoRatio(numbers[0], next(x for x in numbers if x != numbers[0]))
    if not all(math.isfinite(x) for x in numbers):
        raise refusal
    ratios = []
    for extent, turned in product(_below(varying.sizes), (False, True)):
        if turned and 0.0 in numbers:
            continue
        times = [at(extent, point) for point in varying.points]
        found = _polynomial(
            [(1 / x if turned else x) * n for x, n in zip(numbers, times, strict=True)], varying
        )
        if found is not None:
            top, under = found.top, found.below * extent
            ratios.append(Ratio(under, top) if turned else Ratio(top, under))
    if not ratios:
        raise refusal
    return min(ratios, key=lambda r: len(terms_of(r.top)) + len(terms_of(r.below)))


def _below(sizes: Sequence[Size]) -> list[int]:
    """What may stand below: 1, each size and what strides leave of it, products of two sizes."""
    each = [
        [Extent.size(size)]
        + [
            Extent.of({(Units(size, over, plus),): 1})
            for over in range(2, size.period + 1)
            if size.period % over == 0 and over <= SHORT
            for plus in (over - 1, 0)
        ]
        for size in sizes
    ]
    pairs = (product(a, b) for a, b in combinations(each, 2))
    return [1, *chain(*each), *(a * b for both in pairs for a, b in both)]


def _polynomial(numbers: Sequence[float], varying: Varying) -> Ratio | None:
    exact = [Fraction(x).limit_denominator(LIMIT) for x in numbers]
    if not all(_close(f, x) for f, x in zip(exact, numbers, strict=True)):
        return None
    common = math.lcm(*(f.denominator for f in exact))
    top = fits([int(f * common) for f in exact], varying.sizes)
    return None if top is None else Ratio(top, common)


def _close(exact: Fraction, number: float) -> bool:
    return abs(float(exact) - number) <= ROUNDED * abs(number)
