"""Runs recorded calls on the values, or on their shapes alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from lrpc.frontend.execute import execute
from lrpc.frontend.gradients import values_only
from lrpc.frontend.leaves import shape_of_leaf
from lrpc.frontend.records import mapped


class Runner:
    """Computes what calls of a model give, without gradients.

    With `shapes_only` results have a shape and a dtype and no value; `busy` while a call runs.
    """

    def __init__(self, shapes_only: bool) -> None:
        self.fake = FakeTensorMode(allow_non_fake_inputs=True) if shapes_only else None
        self.busy = False

    def example(self, given: Tensor) -> Tensor:
        """An input as calls are given it."""
        if self.fake is not None:
            return self.fake.from_tensor(given.detach())
        return given.detach().clone()

    def call(self, root: nn.Module, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        """The result of one recorded call on plain values."""
        outer, self.busy = self.busy, True
        try:
            with values_only():
                if self.fake is not None:
                    return self._shaped(root, kind, target, args, kwargs)
                return execute(kind, target, root, args, kwargs)
        finally:
            self.busy = outer

    def _shaped(self, root: nn.Module, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        """The shape of a result; plain numbers in tensors stay numbers."""
        assert self.fake is not None
        args, kwargs = mapped((args, kwargs), Tensor, _as_number)
        with self.fake:
            if kind == "call_module":
                shaped = shape_of_leaf(root.get_submodule(target), args, kwargs)
                if shaped is not None:
                    return shaped
            return execute(kind, target, root, args, kwargs)


def _as_number(x: Tensor) -> Any:
    whole = not x.is_floating_point() and x.dtype != torch.bool
    return int(x) if x.dim() == 0 and whole and not isinstance(x, FakeTensor) else x


def stand_in(value: Tensor) -> Tensor:
    """A plain tensor of the same type, with nothing in it."""
    return torch.zeros((), dtype=value.dtype, device=value.device).expand(value.shape)
