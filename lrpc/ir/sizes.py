"""Sizes of a model's inputs, what steps and strides leave of them, and where to try them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import gcd
from operator import mul


@dataclass(frozen=True, order=True, slots=True)
class Size:
    """One size of an input: its name, the step that it goes in, and what it is for the example.

    Numbers may depend on it by floors over up to `period` steps.
    """

    name: str
    step: int
    example: int
    period: int = 1


@dataclass(frozen=True, order=True, slots=True)
class Units:
    """The floor of the steps in a size, and `plus` more, over `over`."""

    size: Size
    over: int = 1
    plus: int = 0

    def at(self, length: int) -> int:
        """It, where the size is `length`."""
        return (length // self.size.step + self.plus) // self.over

    @property
    def example(self) -> int:
        return self.at(self.size.example)

    @property
    def factor(self) -> str:
        """It as a factor of a product: the size itself instead of its steps, `H` or
        `((H+32)//64)`."""
        name, step = self.size.name, self.size.step
        above = f"({name}+{self.plus * step})" if self.plus else name
        return name if self.over == 1 else f"({above}//{self.over * step})"


FURTHER = (7, 10)
"""Steps from the example to sizes that check: more than the grid has. Far from a size, a number
that is as large a part of it as in the example tells nothing, hence not 8. Behind a long period
all the next one is looked at: where floors of a period of two steps more have not grown yet."""

SHORT = 4
"""The longest period over which all choices of sizes are tried. Over a longer one, as windows have,
sizes vary one by one; all choices are tried for `OF_LONG` steps, over which numbers may be sums of
products of floors."""

OF_LONG = 2


def short(size: Size) -> int:
    """Steps in which a size is tried with all choices of the others."""
    return size.period if size.period <= SHORT else OF_LONG


def grid(sizes: Sequence[Size]) -> Iterator[dict[str, int]]:
    """The points at which `fitted` needs numbers: the example, each choice of longer sizes, and
    what is longer in one size alone."""
    example = {s.name: s.example for s in sizes}
    for more in product(*(range(short(size) + 1) for size in sizes)):
        yield {s.name: s.example + s.step * longer for s, longer in zip(sizes, more, strict=True)}
    for size in sizes:
        for longer in range(short(size) + 1, size.period + 1):
            yield example | {size.name: size.example + size.step * longer}


def beyond(sizes: Sequence[Size]) -> list[dict[str, int]]:
    """Sizes at which what was `fitted` shows whether it holds: floors grow later than the grid."""
    longest = max(size.period for size in sizes)
    checks: Sequence[int] = FURTHER if longest > 1 else FURTHER[:1]
    if longest > SHORT:
        checks = range(longest + 1, 2 * longest + 2, 2)
    return [{s.name: s.example + steps * s.step for s in sizes} for steps in checks]


def parts_of(size: Size, growth: Sequence[int]) -> Iterator[tuple[Units, int]]:
    """What grows by `growth` at the places of a period, as multiples of floors: of the size itself,
    and over each divisor of the period as many as there are numbers below with no divisor in
    common. These are independent, so that a number has one form whatever the period."""
    units, inverse = _basis(len(growth))
    for (over, place), row in zip(units, inverse, strict=True):
        yield Units(size, over, over - 1 - place), sum(map(mul, row, growth))


@lru_cache
def _basis(period: int) -> tuple[list[tuple[int, int]], list[list[int]]]:
    """Floors that grow at one place in so many steps, by both, and how many of each make a growth
    by one at each place of the period."""
    overs = [d for d in range(1, period + 1) if period % d == 0]
    units = [(d, i) for d in overs for i in range(sum(gcd(n, d) == 1 for n in range(1, d + 1)))]
    rows = [
        [Fraction(k % over == place) for over, place in units]
        + [Fraction(k == n) for n in range(period)]
        for k in range(period)
    ]
    for i in range(period):  # Gauss and Jordan's elimination; all results are integers
        pivot = next(n for n in range(i, period) if rows[n][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for n in range(period):
            if n != i and (factor := rows[n][i]):
                rows[n] = [x - factor * y for x, y in zip(rows[n], rows[i], strict=True)]
    return units, [[int(x) for x in row[period:]] for row in rows]
