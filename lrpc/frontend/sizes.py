"""Which extents of a model's inputs vary, in which steps, and examples of other sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lrpc.errors import TraceError
from lrpc.frontend.capture import Example
from lrpc.frontend.records import Input, found, mapped
from lrpc.ir.sizes import Size, beyond, grid

NAME = re.compile("[AC-EG-JL-Z][0-9]*")  # B and K are the images and seeds, F torch's functions
STEP = 32
"""The step of sizes, where none is given: what most backbones divide an image by."""

PERIODS = (1, 2, 4, 12, 14, 16)
"""Steps over which the numbers of a model may be floors, the fewest first: those of one more level
than the step is for, and of two; of windows of 12 cells (or of 6, of 3), of 7, and of 16."""

Dynamic = Mapping[str, Mapping[int, "str | tuple[str, int]"]]
"""Input → axis → the name of the size, or its name and step."""


@dataclass(frozen=True)
class Varying:
    """The axes of inputs along which sizes vary."""

    axes: Mapping[str, Mapping[int, Size]]

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The sizes, each once, in order."""
        return tuple(sorted({size for axes in self.axes.values() for size in axes.values()}))

    def over(self, period: int) -> Varying:
        """The same with floors over up to `period` steps."""
        return Varying(
            {
                name: {axis: replace(size, period=period) for axis, size in axes.items()}
                for name, axes in self.axes.items()
            }
        )

    @property
    def points(self) -> list[dict[str, int]]:
        """The sizes to trace at: those that tell what extents are, and larger ones that check."""
        return [*grid(self.sizes), *beyond(self.sizes)]

    def others(self, large: bool) -> Iterator[tuple[dict[str, int], bool]]:
        """Sizes to hold a program at: a larger one than was traced, one in another order, so that a
        portrait follows a landscape, and small ones, which are told as such. Of `large` models the
        first two are one, of half the length and an odd number of steps."""
        ends = [f([size.example for size in self.sizes]) for f in (min, max)]
        turned = {s.name: max((sum(ends) - s.example) // s.step, 1) for s in self.sizes}
        if not large:
            yield beyond(self.sizes)[0], False
        else:
            turned = {name: count // 2 | 1 for name, count in turned.items()}
        yield {s.name: turned[s.name] * s.step for s in self.sizes}, False
        for steps in (1, 2, 4):
            yield {s.name: min(steps * s.step, s.example) for s in self.sizes}, True

    def resized(self, example: Example, point: Mapping[str, int]) -> Example:
        """The same call on inputs of other sizes, made of the entries that are nearest."""

        def change(x: Input) -> Input:
            value = x.value
            for axis, size in self.axes.get(x.name, {}).items():
                value = _nearest(value, axis, point[size.name])
            return Input(x.name, value)

        args, kwargs = mapped((example.args, example.kwargs), Input, change)
        return Example(args, kwargs)


FIXED = Varying({})
"""Inputs of the shapes of the example."""


def varying(example: Example, dynamic: Dynamic) -> Varying:
    """What the user says of sizes, held against an example; TraceError where it does not fit."""
    shapes = {x.name: tuple(x.value.shape) for x in found((example.args, example.kwargs), Input)}
    sizes: dict[str, Size] = {}
    axes: dict[str, dict[int, Size]] = {}
    for name, given in dynamic.items():
        if name not in shapes:
            known = ", ".join(shapes)
            raise TraceError(f"dynamic names an input {name!r}; the model's are {known}")
        for axis, what in given.items():
            size = _size(name, axis, what, shapes[name])
            if sizes.setdefault(size.name, size) != size:
                raise TraceError(
                    f"dynamic: {size.name} is {sizes[size.name].example} in steps of "
                    f"{sizes[size.name].step} in one place and {size.example} in steps of "
                    f"{size.step} in another; give an example where they are the same"
                )
            axes.setdefault(name, {})[axis] = size
    return Varying(axes)


def _size(name: str, axis: Any, what: Any, shape: tuple[int, ...]) -> Size:
    own, step = (what, STEP) if isinstance(what, str) else what
    if isinstance(axis, bool) or not isinstance(axis, int) or not 0 < axis < len(shape):
        raise TraceError(
            f"dynamic: {axis!r} is no axis of {name} {list(shape)} that can vary; the batch, axis "
            "0, always does"
        )
    if not (isinstance(own, str) and NAME.fullmatch(own)):
        raise TraceError(f"dynamic: {own!r} cannot name a size; take a letter such as H or W2")
    if not isinstance(step, int) or step < 1:
        raise TraceError(f"dynamic: {step!r} is no step for {own}; take a positive integer")
    if shape[axis] % step:
        raise TraceError(
            f"dynamic: {own} goes in steps of {step}, but axis {axis} of the example's {name} is "
            f"{shape[axis]} long; give an example of a multiple, or {{{axis}: ({own!r}, step)}}"
        )
    return Size(own, step, shape[axis])


def _nearest(value: Tensor, axis: int, length: int) -> Tensor:
    places = torch.arange(length) * value.shape[axis] // length
    return value.index_select(axis, places.to(value.device))
