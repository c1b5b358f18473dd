"""Sizes of inputs that vary, and extents that depend on them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import prod

from torch import Tensor

from lrpc.runtime.loading import ProgramError


def sizes_of(
    known: Mapping[str, tuple[str, tuple[int | str, ...]]],
    inputs: Mapping[str, Tensor],
    steps: Mapping[str, int],
) -> dict[str, int]:
    """The sizes that inputs have, each a multiple of its step, and the same in all of them."""
    found: dict[str, int] = {}
    for name, value in inputs.items():
        for axis, said in enumerate(known[name][1]):
            if said not in steps:
                continue
            size, step = value.shape[axis], steps[str(said)]
            if size % step or not size:
                near = max(size // step, 1) * step
                more = f" or {near + step}" if near < size else ""
                raise ProgramError(
                    f"input {name}: {said} is {size}, no multiple of {step}; resize or pad it to"
                    f" {near}{more}"
                )
            if found.setdefault(str(said), size) != size:
                raise ProgramError(f"inputs differ in {said}: {found[str(said)]} and {size}")
    return found


FLOOR = re.compile(r"\(+([A-Z][0-9]*)(?:\+([0-9]+)\))?//([0-9]+)\)")


def extent(said: int | str, sizes: Mapping[str, int]) -> int:
    """An extent at given sizes: a number, or a sum of products such as `21*H*W/1024`, with floors
    such as `((H+32)//64)` among the factors."""
    if isinstance(said, int):
        return said

    def floor(found: re.Match[str]) -> str:
        name, plus, over = found.groups()
        return str((sizes[name] + int(plus or 0)) // int(over))

    total = 0
    for term in FLOOR.sub(floor, said).split("+"):
        above, *below = term.split("/")
        total += prod(sizes.get(x) or int(x) for x in above.split("*")) // prod(map(int, below))
    return total


def shape_at(
    shape: Sequence[int | str], batch_axis: int, batch: int, sizes: Mapping[str, int]
) -> list[int]:
    """The shape of a value for so many images of these sizes."""
    return [batch if i == batch_axis else extent(s, sizes) for i, s in enumerate(shape)]
