"""At which sizes a program of any size is verified, and what is told of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lrpc.ir.sizes import Size

#: A size of the inputs, by name; empty for a program of one size.
Point = Mapping[str, int]


#: Σ |R| over the |start|: from here on, contributions of both signs cancel in what a map shows.
AMPLIFIED = 100.0


@dataclass(frozen=True)
class Check:
    """One line of the report: what was measured, the figure, its limit, and what to add. `kind` is
    what similar checks have in common; `at` is the size of the inputs in words, where it varies."""

    what: str
    figure: float
    limit: float
    remark: str = ""
    kind: str = ""
    at: str = ""
    warns: bool = False  # rather than fails, above its limit

    @property
    def over(self) -> bool:
        """Whether the figure is above its limit."""
        return not self.figure <= self.limit

    @property
    def passed(self) -> bool:
        return self.warns or not self.over


def points(
    sizes: Sequence[Size], kept: Callable[[Point], bool] = lambda _: True
) -> list[list[Point]]:
    """The example's size, a larger one, that turned from landscape to portrait or back, and small
    ones, of which the first that can be computed counts; of these, what a program is `kept` to."""
    example = {size.name: size.example for size in sizes}
    longest = max(sizes, key=lambda size: size.example, default=None)
    larger = {s.name: s.example + s.step * (2 if s == longest else 1) for s in sizes}
    both = min(larger.values(), default=0) + max(larger.values(), default=0)
    turned = {s.name: max((both - larger[s.name]) // s.step, 1) * s.step for s in sizes}
    small, steps = list[Point](), 1
    while example not in small:
        small.append({s.name: min(steps * s.step, s.example) for s in sizes})
        steps *= 2
    every: list[list[Point]] = [[example], [larger], [turned], small]
    every = [[point for point in some if kept(point)] for some in every]
    return [some for n, some in enumerate(every) if some and some not in every[:n]]


def words(point: Point) -> str:
    """A size in words: `H = 96, W = 160`."""
    return ", ".join(f"{name} = {length}" for name, length in point.items())


def folded(found: Iterable[Check]) -> Iterator[Check]:
    """Of each kind of check the one that comes nearest to its limit, or all that failed."""
    kinds: dict[str, list[Check]] = {}
    for check in found:
        kinds.setdefault(check.kind, []).append(check)
    for kind, some in kinds.items():
        if failed := [check for check in some if not check.passed]:
            yield from failed
            continue
        worst = max(some, key=lambda check: check.figure / check.limit)
        yield replace(worst, what=kind, remark=f"the largest of {len(some)}: {worst.what}")
