"""The extents that numbers are, from what they are at several sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import gcd, prod

from lrpc.ir.extents import Extent, at, line
from lrpc.ir.sizes import Size, beyond, grid, short


def fits(numbers: Sequence[int], sizes: Sequence[Size]) -> int | None:
    """The extent that takes these values on `grid(sizes)`, and then `beyond` it; None if none."""
    checks = beyond(sizes)
    made = fitted(numbers[: -len(checks)], sizes)
    held = zip(checks, numbers[-len(checks) :], strict=True)
    return made if made is not None and all(at(made, p) == number for p, number in held) else None


def fitted(numbers: Sequence[int], sizes: Sequence[Size]) -> int | None:
    """The extent that takes these values on `grid(sizes)`, with no size squared; None if none.

    Over long periods it is a product of what depends on one size each, or one of short periods.
    """
    if all(n == numbers[0] and not isinstance(n, Extent) for n in numbers):
        return numbers[0]
    made = _of_choices(numbers[: prod(short(size) + 1 for size in sizes)], sizes)
    if all(size.period == short(size) for size in sizes):
        return made
    by_point = dict(zip(_points(sizes), numbers, strict=True))
    for found in (made, _of_lines(by_point, sizes)):
        if found is not None and all(
            at(found, dict(point)) == number for point, number in by_point.items()
        ):
            return found
    return None


Point = tuple[tuple[str, int], ...]


def _points(sizes: Sequence[Size]) -> Iterator[Point]:
    return (tuple(point.items()) for point in grid(sizes))


def _of_choices(numbers: Sequence[int], sizes: Sequence[Size]) -> int:
    """The extent that takes these values for each choice of sizes."""
    if all(n == numbers[0] and not isinstance(n, Extent) for n in numbers):
        return numbers[0]
    size, *others = sizes
    length = len(numbers) // (short(size) + 1)
    parts = [numbers[i : i + length] for i in range(0, len(numbers), length)]
    return line([_of_choices(part, others) if others else part[0] for part in parts], size)


def _of_lines(by_point: Mapping[Point, int], sizes: Sequence[Size]) -> int | None:
    """The product of what depends on one size each; None where it is no integer everywhere."""
    example = {s.name: s.example for s in sizes}
    one = by_point[tuple(example.items())]
    lines = []
    for size in sizes:
        lengths = [size.example + size.step * more for more in range(size.period + 1)]
        made = line([by_point[tuple((example | {size.name: n}).items())] for n in lengths], size)
        lines += [made] if isinstance(made, Extent) else []
    if len(lines) < 2 or not one:
        return lines[0] if lines else None
    product, scale = 1, Fraction(one)
    for made in lines:
        common = gcd(*made.terms.values())
        product, scale = product * (made // common), scale * common / one
    return product * int(scale) if scale.denominator == 1 else None
