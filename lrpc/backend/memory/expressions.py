"""Peaks as expressions in the sizes of images: the largest of a few rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product

from lrpc.backend.memory.run import Model
from lrpc.errors import TraceError
from lrpc.ir.extents import Extent, at, known
from lrpc.ir.fitting import fitted
from lrpc.ir.sizes import Size, Units, beyond, grid

Sizes = Mapping[str, int]
Bytes = tuple[int, ...]  # live at one step, at each of the sizes that are simulated
Row = tuple[int, ...]  # the smallest of these polynomials: some operations work in segments

NEAR, FAR = 48, (96, 1024)
"""Steps of each size up to which every size is looked at, and those that stand for larger ones."""
LEAST = 4
"""Steps of each size up to which the smallest that the model takes is looked for."""


@dataclass(frozen=True)
class Peak:
    """The peak of a target is the largest of `rows` at any sizes. Simulations at so many sizes
    that no row follows from agree (`checked`)."""

    rows: tuple[Row, ...]
    checked: int

    def at(self, sizes: Sizes) -> int:
        """Bytes at these sizes."""
        return max(_at(row, sizes) for row in self.rows)


def peaks(model: Model, targets: Sequence[int], batch: int, seeds: int) -> list[Peak | None]:
    """The peaks of some targets, by index, for so many images and seeds; None where simulations at
    further sizes show that one is no such expression, with each size squared at most."""
    live = Simulated(model, targets, batch, seeds)
    found = [peak_of(live, i, Linear()) for i in range(len(targets))]
    if None in found and all(size.period == 1 for size in model.graph.sizes):
        found = [peak or peak_of(live, i, Square()) for i, peak in enumerate(found)]
    return found


@dataclass
class Simulated:
    """Live bytes at each step of some targets, simulated once at each of the sizes."""

    model: Model
    targets: Sequence[int]
    batch: int
    seeds: int
    seen: dict[tuple[int, ...], list[list[int]] | None] = field(default_factory=dict)

    @property
    def sizes(self) -> Sequence[Size]:
        return self.model.graph.sizes

    def at(self, sizes: Sizes) -> list[list[int]] | None:
        """Of each target; None where the model does not take images of these sizes."""
        key = tuple(sizes[size.name] for size in self.sizes)
        if key not in self.seen:
            here = replace(self.model, sizes=sizes)
            try:
                after = here.forward(self.batch)
                timelines = (here.timeline(i, self.seeds, after) for i in self.targets)
                self.seen[key] = [timeline.live for timeline in timelines]
            except TraceError:
                self.seen[key] = None
        return self.seen[key]


class Linear:
    """Polynomials with no size squared, from what `fitted` needs."""

    def points(self, sizes: Sequence[Size]) -> list[dict[str, int]]:
        return list(grid(sizes))

    def polynomial(self, numbers: Bytes, sizes: Sequence[Size]) -> int | None:
        return fitted(numbers, sizes)


class Square:
    """Polynomials of degree 2 in each size, from three of each."""

    def points(self, sizes: Sequence[Size]) -> list[dict[str, int]]:
        names = [s.name for s in sizes]
        lengths = ([s.example + s.step * more for more in range(3)] for s in sizes)
        return [dict(zip(names, point, strict=True)) for point in product(*lengths)]

    def polynomial(self, numbers: Bytes, sizes: Sequence[Size]) -> int | None:
        """None where a coefficient is no integer."""
        if len(set(numbers)) == 1:
            return numbers[0]
        terms = _coefficients(list(map(Fraction, numbers)), sizes)
        if any(c.denominator != 1 for c in terms.values()):
            return None
        return Extent.of({powers: int(c) for powers, c in terms.items()})


def peak_of(live: Simulated, target: int, form: Linear | Square) -> Peak | None:
    """The peak of a target, by its place among them."""
    sizes, small = live.sizes, _smallest(live, form)
    high, low = form.points(sizes), form.points(small) if small else []
    checks = [point for point in _checks(sizes) if live.at(point) is not None]
    points = [*high, *low, *checks]
    steps = [found[target] for point in points if (found := live.at(point)) is not None]
    if len(steps) < len(points) or len(set(map(len, steps))) > 1:
        return None
    most = [max(bytes_at) for bytes_at in steps]
    rows = set[Row]()
    for numbers in set(zip(*steps, strict=True)):
        row = _row(form, numbers[: len(high)], sizes)
        if row and any(at(row[0], p) != n for p, n in zip(points, numbers, strict=True)):
            row += _row(form, numbers[len(high) : len(high) + len(low)], small, sizes)
        if row and all(_at(row, p) == n for p, n in zip(points, numbers, strict=True)):
            rows.add(row)
        elif any(n == top for n, top in zip(numbers, most, strict=True)):
            return None
    peak = Peak(_largest(rows, sizes), len(checks))
    held = zip(points, most, strict=True)
    return peak if peak.rows and all(peak.at(p) == top for p, top in held) else None


def _checks(sizes: Sequence[Size]) -> list[dict[str, int]]:
    """Larger sizes, one that is larger in the first alone, and half of the example."""
    larger, *more = beyond(sizes)
    turned = {s.name: s.example for s in sizes} | {sizes[0].name: larger[sizes[0].name]}
    half = {s.name: max(1, s.example // s.step // 2) * s.step for s in sizes}
    return [larger, *more, turned, half]


def _smallest(live: Simulated, form: Linear | Square) -> list[Size]:
    """The sizes with the least steps that the model takes as the example; none if not found."""
    for steps in range(1, LEAST + 1):
        small = [replace(size, example=steps * size.step) for size in live.sizes]
        if all(live.at(point) is not None for point in form.points(small)):
            return small
    return []


def _row(
    form: Linear | Square, numbers: Bytes, sizes: Sequence[Size], own: Sequence[Size] = ()
) -> Row:
    """The polynomial with these values at the points of `sizes`, in the model's `own`; or none."""
    made = form.polynomial(numbers, sizes) if sizes else None
    if not isinstance(made, Extent) or not own:
        return () if made is None else (made,)
    named = {size.name: size for size in own}
    terms = {
        tuple(sorted(replace(units, size=named[units.size.name]) for units in powers)): c
        for powers, c in made.terms.items()
    }
    return (Extent.of(terms),)


def _at(row: Row, sizes: Sizes) -> int:
    return min(at(part, sizes) for part in row)


def _coefficients(
    numbers: Sequence[Fraction], sizes: Sequence[Size]
) -> dict[tuple[Units, ...], Fraction]:
    """By powers of the sizes, from Newton's form in the first of them."""
    if not sizes:
        return {(): numbers[0]}
    size, *others = sizes
    third = len(numbers) // 3
    parts = [_coefficients(numbers[i * third : (i + 1) * third], others) for i in range(3)]
    first, units = size.example // size.step, Units(size)
    found: dict[tuple[Units, ...], Fraction] = {}
    for powers in parts[0].keys() | parts[1].keys() | parts[2].keys():
        a, b, c = (part.get(powers, Fraction(0)) for part in parts)
        once, twice = b - a, (c - 2 * b + a) / 2
        none = a - first * once + first * (first + 1) * twice
        for power, value in enumerate((none, once - (2 * first + 1) * twice, twice)):
            if value:
                found[tuple(sorted((*(units,) * power, *powers)))] = value
    return found


def _largest(rows: Collection[Row], sizes: Sequence[Size]) -> tuple[Row, ...]:
    """The rows of which one is the largest at any sizes, largest first for large images."""
    far = {s.name: s.step * FAR[-1] for s in sizes}
    kept: list[Row] = []
    for row in sorted(rows, key=lambda r: (-_at(r, far), text(r))):
        if not any(_above(other, row) for other in kept):
            kept.append(row)
    wanted = {max(kept, key=lambda r: _at(r, point)) for point in _tried(sizes)} if kept else set()
    return tuple(row for row in kept if row in wanted)


def _above(other: Row, row: Row) -> bool:
    """Whether a row is known to be no less than another at any sizes."""
    return all(any(known(a - b, 0) for b in row) for a in other)


def _tried(sizes: Sequence[Size]) -> Iterator[dict[str, int]]:
    lengths = [[n * s.step for n in (*range(1, NEAR + 1), *FAR)] for s in sizes]
    for point in product(*lengths):
        yield {s.name: n for s, n in zip(sizes, point, strict=True)}


def text(row: Row) -> str:
    """A row as Python computes it, the highest powers first: `13158*H*W + 4352*H + 1305600`, or
    `min(…, …)`."""
    parts = [_text(part) for part in row]
    return parts[0] if len(parts) == 1 else f"min({', '.join(parts)})"


def _text(number: int) -> str:
    if not isinstance(number, Extent):
        return str(number)
    parts = sorted(number.terms.items(), key=lambda term: (-len(term[0]), term[0]))
    words = [Extent.of({powers: c}) if powers else c for powers, c in parts]
    return " + ".join(map(str, words)).replace("+ -", "- ")
