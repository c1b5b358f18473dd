"""The calls that a program and its model are both run on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lrpc.frontend.calls import ModelCall
from lrpc.frontend.capture import Example
from lrpc.frontend.variation import varied

MORE = 4
"""Images of the largest case by values: tracing sees batches of 2 and 3."""

MANY, MANY_NUMBERS = 65, 1 << 20
"""Images of the largest case by shapes, and numbers in all of them."""

TRIES = 5
"""Sets of other values, where the model decides by values what to do."""


@dataclass(frozen=True)
class Case:
    """One call that both are run on, in words; `shapes` says that its values are too many."""

    name: str
    example: Example
    shapes: bool = False
    small: bool = False  # one of several, of which the first that the model can take is held


def cases_of(call: ModelCall, decisions: Sequence[str], large: bool) -> list[Case]:
    """The cases for a model that reads `decisions` out of its inputs; those of a `large` one are
    on small images, or by shapes alone."""
    own, fixed = call.batch_of(call.example), call.unbatched
    more = MORE if own != MORE else MORE + 1
    cases = [Case("the example", call.example)]
    by_shapes = large and not decisions
    if call.varying.sizes and by_shapes:
        return [*cases, *_of_other_sizes(call, large, more)]
    if own != 1 or large:
        cases.append(Case("one other image", varied(call.example, 1, fixed)))
    others = varied(call.example, more, fixed)
    if call.varying.sizes:
        cases.append(Case(f"{more} other images", others))
        return [*cases, *_of_other_sizes(call, large)]
    cases.append(Case(f"{more} other images", others, by_shapes))
    many = min(MANY, MANY_NUMBERS * own // max(call.example.elements, 1))
    if many > more and not decisions:  # what reads values has no shapes alone
        cases.append(Case(f"{many} other images", varied(call.example, many, fixed), True))
    if decisions:  # other values may decide otherwise
        for seed in range(1, 1 + TRIES):
            other = varied(call.example, own, fixed, seed)
            cases.append(Case(f"other values ({seed})", other))
    return cases


def _of_other_sizes(call: ModelCall, large: bool, most: int = 1) -> Iterator[Case]:
    """One image of each of the other sizes to hold a program at, `most` of the smallest."""
    for point, small in call.varying.others(large):
        count = most if small else 1
        images = call.varying.resized(varied(call.example, count, call.unbatched), point)
        size = ", ".join(f"{k} = {n}" for k, n in point.items())
        said = "one image" if count == 1 else f"{count} images"
        yield Case(f"{said} of {size}", images, small=small)
