"""Runs recorded calls on the values, or on their shapes alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from lrpc.frontend.execute import call_name, execute
from lrpc.frontend.gradients import values_only
from lrpc.frontend.leaves import shape_of_leaf
from lrpc.frontend.records import found, mapped
from lrpc.frontend.true_places import asks_for_places
from lrpc.frontend.views import VIEWS
from lrpc.ir.meta import FORMULAS, Mode, operands

TURN = torch.ops.aten.t.default

INDEXED = frozenset({"getitem", "setitem"})  # whose second argument is an index

ByShapes = Literal["", "beside values", "alone"]
"""Whether a trace is on shapes, and whether another of the same calls is on values."""


class Runner:
    """Computes what calls of a model give, without gradients.

    With `shapes` results have a shape and a dtype and no value; `busy` while a call runs.
    `sized` says whether the shape of the last call's result hangs on the values that it was given.
    """

    def __init__(self, shapes: ByShapes) -> None:
        self.fake = _Shapes(allow_non_fake_inputs=True) if shapes else None
        self.alone = shapes == "alone"
        self.busy = self.sized = False

    def example(self, given: Tensor) -> Tensor:
        """An input as calls are given it."""
        if self.fake is not None:
            return self.fake.from_tensor(given.detach())
        return given.detach().clone()

    def of_numbers(self, function: Any, args: Any, kwargs: Any) -> Tensor:
        """A tensor made from numbers alone: it has values where others have shapes alone, too."""
        outer, self.busy = self.busy, True
        try:
            made: Tensor = function(*args, **kwargs)
        finally:
            self.busy = outer
        return made

    def call(
        self,
        root: nn.Module,
        kind: str,
        target: Any,
        args: Any,
        kwargs: Any,
        values: Iterable[Tensor] = (),
        of_sizes: bool = False,
    ) -> Any:
        """The result of one recorded call on plain values; `values` are those that vary. What is
        computed `of_sizes` alone has values always."""
        outer, self.busy = self.busy, True
        try:
            with values_only():
                if self.fake is not None and not of_sizes:
                    return self._shaped(root, kind, target, args, kwargs)
                with _Sizes(values) as sizes:
                    result = execute(kind, target, root, args, kwargs)
                self.sized = sizes.found or _counts(kind, target, args, kwargs)
                return result
        finally:
            self.busy = outer

    def _shaped(self, root: nn.Module, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        """The shape of a result; plain numbers in tensors stay numbers."""
        assert self.fake is not None
        own = args[:1] if kind == "call_method" else ()  # the tensor whose method it is stays one
        rest, kwargs = mapped((args[len(own) :], kwargs), Tensor, _as_number)
        args = (*own, *rest)
        if asks_for_places(call_name(target), args, kwargs):
            none = torch.zeros(0, dtype=torch.int64)  # how many is not known: see TruePlaces
            return (self.fake.from_tensor(none),) * args[0].dim()
        if call_name(target) in INDEXED:
            args = (args[0], _places(args[1]), *args[2:])
        with self.fake:
            if kind == "call_module":
                shaped = shape_of_leaf(root.get_submodule(target), args, kwargs)
                if shaped is not None:
                    return shaped
            return execute(kind, target, root, args, kwargs)


class _Shapes(FakeTensorMode):  # type: ignore[no-untyped-call]
    """Tensors without values, whose shapes follow by formula where there is one."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or else every operation goes through torch.compile's switch

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        formula, kwargs = FORMULAS.get(func) or VIEWS.get(func), kwargs or {}
        if formula is not None and "out" not in kwargs and self._covers(func, args):
            result = formula(args, kwargs)
            if result is not None:
                return mapped(result, Tensor, self._as_fake)
        return self.dispatch(func, types, args, kwargs)

    def _covers(self, func: Any, args: Any) -> bool:
        """Whether a formula can say what comes of these operands: tensors of the CPU, some of them
        without a value, and none that torch knows the value of all the same."""
        tensors = operands(args)
        fakes = [x for x in tensors if isinstance(x, FakeTensor)]
        return (
            all(x.constant is None and x.fake_device.type == "cpu" for x in fakes)
            and all(x.device.type == "cpu" for x in tensors if not isinstance(x, FakeTensor))
            and (
                isinstance(args[0], FakeTensor)
                or (bool(fakes) and not func._schema.is_mutable)
                or (func is TURN and args[0].is_floating_point())  # of a weight
            )
        )

    def _as_fake(self, x: Tensor) -> Tensor:
        return x if isinstance(x, FakeTensor) else FakeTensor(self, x, torch.device("cpu"))


class _Sizes(Mode):
    """Finds operations inside a call that make a result as long as some of `values` tell."""

    def __init__(self, values: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values = {_memory(x) for x in values if x.layout is torch.strided} - {0}
        self.found = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if torch.Tag.dynamic_output_shape in func.tags:
            asked = [x for x in found(_telling(func, args), object) if isinstance(x, Tensor)]
            self.found = self.found or any(_memory(x) in self.values for x in asked)
        return func(*args, **(kwargs or {}))


def _telling(func: Any, args: tuple[Any, ...]) -> Any:
    """The operands whose values tell the length of the result: of masks, the masks alone."""
    if func is torch.ops.aten.index.Tensor:
        masks = (torch.bool, torch.uint8)
        return [x for x in args[1] if x is not None and x.dtype in masks]
    return args[1:] if func is torch.ops.aten.masked_select.default else args


def _counts(kind: str, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call counts classes in its values, for want of their number."""
    if kind == "call_module" or call_name(target) != "one_hot":
        return False
    return bool((args[1] if len(args) > 1 else kwargs.get("num_classes", -1)) == -1)


def _memory(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def _as_number(x: Tensor) -> Any:
    whole = not x.is_floating_point() and x.dtype != torch.bool
    return int(x) if x.dim() == 0 and whole and not isinstance(x, FakeTensor) else x


def _places(index: Any) -> Any:
    """An index with the places of masks that are known in their stead: their number is told."""
    picks: list[Any] = []
    for pick in index if isinstance(index, tuple) else (index,):
        mask = isinstance(pick, Tensor) and pick.dtype == torch.bool
        known = mask and not isinstance(pick, FakeTensor)
        picks += pick.nonzero(as_tuple=True) if known else [pick]
    return tuple(picks)


def stand_in(value: Tensor) -> Tensor:
    """A plain tensor of the same type, with nothing in it."""
    return torch.zeros((), dtype=value.dtype, device=value.device).expand(value.shape)
