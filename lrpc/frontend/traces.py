"""Traces of one call at several batch sizes and sizes of inputs, and the extents that they tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrpc.frontend.sizes import FIXED, Varying
from lrpc.frontend.tracer import Trace
from lrpc.ir.fitting import fits
from lrpc.ir.types import Dim, Sym

SIZES = (2, 3)


class Differs(Exception):
    """Traces differ in a way that neither the batch size nor the sizes of inputs explain."""


class Uneven(Differs):
    """Numbers of traces are no extents over the period of their sizes."""


@dataclass(frozen=True)
class Traces:
    """Traces of one call: on two images, on three, and on two of the other sizes of `varying`."""

    two: Trace
    three: Trace
    more: tuple[Trace, ...] = ()
    varying: Varying = FIXED

    @property
    def all(self) -> tuple[Trace, ...]:
        return (self.two, self.three, *self.more)

    def extent(self, found: Sequence[int]) -> Dim:
        """The extent that is this in each of the traces."""
        dim = extent(found[0], found[1])
        batch = dim.batch if isinstance(dim, Sym) else 0
        images = SIZES[0] ** batch
        numbers = [n for i, n in enumerate(found) if i != 1]
        if not self.more or numbers == [numbers[0]] * len(numbers):
            return dim
        if any(n % images for n in numbers):
            raise Differs
        coeff = fits([n // images for n in numbers], self.varying.sizes)
        if coeff is None:
            raise Uneven
        return Sym(coeff, batch) if batch else coeff


def extent(a: int, b: int) -> Dim:
    """The extent that is `a` for two images and `b` for three."""
    if a == b:
        return a
    for power in (1, 2):
        coeff = a // SIZES[0] ** power
        if coeff > 0 and (coeff * SIZES[0] ** power, coeff * SIZES[1] ** power) == (a, b):
            return Sym(coeff, batch=power)
    raise Differs
