"""A model and an example call of it: what a program is compiled from, and can be held against."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from lrpc.frontend.capture import Example, as_for_inference, captured, submodule
from lrpc.frontend.records import Input, found, mapped
from lrpc.frontend.sizes import FIXED, Varying
from lrpc.frontend.structure import described, nested


@dataclass(frozen=True, eq=False)
class ModelCall:
    """The submodule `scope` of `model` (the whole of it for ""), on what an example feeds it."""

    model: nn.Module
    example: Example
    scope: str = ""
    unbatched: frozenset[str] = field(default_factory=frozenset)
    ignore_no_grad: bool = False
    varying: Varying = FIXED

    @property
    def target(self) -> nn.Module:
        return submodule(self.model, self.scope)

    def batch_of(self, example: Example) -> int:
        """The number of images that a call is on."""
        inputs = found((example.args, example.kwargs), Input)
        sizes = [x.value.shape[0] for x in inputs if x.name not in self.unbatched and x.value.dim()]
        return int(sizes[0])

    def inside(self, example: Example) -> Example:
        """The call of the submodule that the model makes on `example`; to be used while the model
        is `as_for_inference`."""
        if self.target is self.model:
            return example
        return captured(self.model, self.target, self.scope, example)

    def run(self, example: Example) -> tuple[dict[str, Tensor], Any, dict[str, Tensor]]:
        """What goes into the submodule by name, and what it returns: its nesting, and its tensors
        by name."""
        with as_for_inference(self.model):
            call = self.inside(example)
            given = {x.name: x.value for x in found((call.args, call.kwargs), Input)}
            args, kwargs = mapped((call.args, call.kwargs), Input, lambda x: x.value.clone())
            structure, tensors = described(nested(self.target(*args, **kwargs)), Tensor)
        return given, structure, {name: t.detach() for name, t in tensors.items()}

    def in_double(self) -> ModelCall:
        """The same in float64, on a copy of the model."""
        return replace(self, model=copy.deepcopy(self.model).double(), example=double(self.example))


def double(example: Example) -> Example:
    """The call with its floating tensors in float64."""

    def wide(x: Input) -> Input:
        return Input(x.name, x.value.double() if x.value.is_floating_point() else x.value)

    args, kwargs = mapped((example.args, example.kwargs), Input, wide)
    return Example(args, kwargs)
