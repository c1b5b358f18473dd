"""Sizes that stand for B and K while types are inferred, and reading extents back as symbols.

An operation's reference runs on meta tensors with a prime in the place of B and another in the
place of K. One run cannot tell B from a layer as wide as the prime, nor 2·B from B + prime. So the
primes divide no number of the operation at hand, and it runs at two points or more: an extent is
`c · B^i · K^j` only if one such product gives what was found at every point.

Two points are enough where c is below every prime. Extents come about by adding and multiplying
extents, so they are polynomials without negative coefficients; if one of them that is no product
equalled `c · B^i` at both points, a term of a higher and one of a lower degree would add up to c,
and the higher one alone is more than the prime. A third point settles the others: by Descartes'
rule of signs the difference has two positive zeros at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import count
from math import isqrt

from lrpc.ir.types import Dim, Sizes, Sym

#: Primes start above this: shapes with four such factors stay below 2^63 bytes.
FIRST = 1_000


class NotAProduct(ValueError):
    """An extent that no product of an integer, B and K explains."""


def points(numbers: Iterable[int]) -> Iterator[Sizes]:
    """Sizes of B and K, the first point, the second, …: primes that divide none of `numbers`."""
    primes = _primes({abs(n) for n in numbers if n})
    while True:
        yield {"B": next(primes), "K": next(primes)}


def _primes(numbers: set[int]) -> Iterator[int]:
    for index in count():
        prime = _prime(index)
        if all(n % prime for n in numbers):
            yield prime


@cache
def _prime(index: int) -> int:
    """The primes above FIRST, by their number."""
    candidate = FIRST if index == 0 else _prime(index - 1)
    while True:
        candidate += 1
        if all(candidate % d for d in range(2, isqrt(candidate) + 1)):
            return candidate


def solve(extents: Sequence[int], sizes: Sequence[Sizes]) -> Dim:
    """The extent that is `extents[i]` at `sizes[i]`; NotAProduct where there is none."""
    first, last = extents[0], extents[-1]
    if all(extent == first for extent in extents):
        return first
    powers = [_power(first, sizes[0][s]) - _power(last, sizes[0][s]) for s in ("B", "K")]
    if min(powers) < 0:
        raise NotAProduct
    divisor = sizes[0]["B"] ** powers[0] * sizes[0]["K"] ** powers[1]
    found = Sym(first // divisor, *powers)
    if any(found.at(at) != extent for at, extent in zip(sizes, extents, strict=True)):
        raise NotAProduct
    return found


def _power(number: int, prime: int) -> int:
    power = 0
    while number and number % prime == 0:
        number, power = number // prime, power + 1
    return power


def coefficient(dim: Dim) -> int:
    """The integer factor of an extent."""
    return dim.coeff if isinstance(dim, Sym) else dim
