"""What the lowering rows work with: operands, emission of IR nodes, and errors with a place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor

from lrpc.errors import TraceError
from lrpc.frontend.lowering.images import mixed
from lrpc.frontend.lowering.missing import Missing
from lrpc.frontend.ratios import Ratio
from lrpc.frontend.records import Call, ImageNumbers, Stored, memory_of
from lrpc.ir.builder import Builder
from lrpc.ir.extents import Extent
from lrpc.ir.graph import Attr, Node, Value
from lrpc.ir.ops import views
from lrpc.ir.types import DTYPES, B, Dim, Sym, TensorType, type_of, whole

MOVES = views() | {"cast", "full"}
"""Operations that go by their own names even where a module does them."""


Operand = Any
"""Value | Stored | ImageNumbers | number | Ratio | Sym | None | Missing, or a tuple of operands."""


class Context:
    """The call that is being lowered, and the nodes emitted so far."""

    def __init__(self, inputs: tuple[Value, ...], names: Mapping[object, str]) -> None:
        self.builder = Builder({}, taken=[v.name for v in inputs])
        self.tensors: dict[str, Tensor] = {}
        self.hints: list[str] = []
        self.producers: dict[Value, Node] = {}
        self.call: Call
        self.calls: tuple[Call, ...] = ()
        self.live: set[int] = set()  # the calls that are lowered, by index
        self._constants: dict[object, str] = {}
        self._names = names
        self._emitted: dict[object, tuple[Tensor, Value]] = {}  # holds tensors, so ids stay theirs

    # Emission.

    def ops(self, op: str, *inputs: Operand, **attrs: Any) -> tuple[Value, ...]:
        """Emit one IR operation at the place of the current call; IRError where it does not fit."""
        values = [self.value(x) for x in inputs]
        for extent in mixed(op, values, attrs):
            self.fixed(extent)
        outputs = self.builder.op(op, *values, loc=self.call.loc, **attrs)
        self.hints.append(self._hint(op, attrs))
        self.producers.update(dict.fromkeys(outputs, self.builder.nodes[-1]))
        return outputs

    def op(self, op: str, *inputs: Operand, **attrs: Any) -> Value:
        """`ops`, for operations with one output."""
        return self.ops(op, *inputs, **attrs)[0]

    def _hint(self, op: str, attrs: Mapping[str, Attr | None]) -> str:
        """The module's own name for what it does with its own weights; "" leaves it to the op."""
        if op == "constant":
            return (
                "" if str(attrs["weight"]).startswith("constant.") else tail(str(attrs["weight"]))
            )
        module = self.call.loc.module
        args = (*self.call.args, *self.call.kwargs.values())
        owns = any(
            isinstance(x, Stored) and x.name.rpartition(".")[0] == module for x in self.seen(args)
        )
        owns = owns or self.call.kind == "call_module"
        return tail(module) if owns and op not in MOVES else ""

    def seen(self, args: tuple[Any, ...]) -> list[Operand]:
        """The operands behind the references among `args`."""
        raise NotImplementedError

    # Operands.

    def value(self, x: Operand, spread: bool = True) -> Value:
        """The IR value of an operand; a constant that has one slice per image is spread over the
        batch unless `spread` is False, where broadcasting will do that."""
        if isinstance(x, Value):
            return x
        if isinstance(x, Missing):
            raise TraceError(self._told(x.reason, x.remedy))
        if isinstance(x, (bool, int, float)) and not isinstance(x, Extent):
            x = self.constant(torch.tensor(x))
        if isinstance(x, Ratio):
            parts = [self.op("full", shape=(), value=n, dtype="f64") for n in (x.top, x.below)]
            return self.op("div", *parts)
        if isinstance(x, Extent):
            return self.op("full", shape=(), value=x, dtype="i64")
        if isinstance(x, ImageNumbers):
            self.refuse("computes with the numbers of the images", "they can only pick entries")
        if not isinstance(x, Stored):
            what = getattr(x, "called", type(x).__name__)
            self.refuse(f"takes {what} where a real tensor belongs")
        spread = spread or x.repeated is not None
        key = (id(x.tensor), spread and x.varies)
        if key not in self._emitted:
            self._emitted[key] = (x.tensor, self._emit(x, spread))
        return self._emitted[key][1]

    def _emit(self, x: Stored, spread: bool) -> Value:
        if x.uniform is not None:
            shape = x.type.shape if spread else tuple(x.tensor.shape)
            return self.op("full", shape=shape, value=x.uniform, dtype=x.type.dtype)
        value = self.op("constant", weight=self.weight(x))
        if (axis := x.repeated) is not None:
            shape, own = x.type.shape, tuple(x.tensor.shape)
            thin = self.op("reshape", value, shape=(*own[:axis], 1, *own[axis:]))
            wide = self.op("expand", thin, shape=(*own[:axis], B, *own[axis:]))
            return self.op("reshape", wide, shape=shape)
        return self.op("expand", value, shape=x.type.shape) if spread and x.varies else value

    def values(self, xs: Operand) -> list[Value]:
        """The IR values of a sequence of tensors."""
        return [self.value(x) for x in xs]

    def weight(self, x: Operand) -> str:
        """The name of a tensor that is known at compile time."""
        if not isinstance(x, Stored):
            self.refuse("has a weight that depends on the inputs")
        if x.varies and x.name:
            self.refuse("has a weight that depends on the batch size")
        name = x.name or self._constant_name(x.tensor)
        self.tensors.setdefault(name, x.tensor)
        self.builder.weights.setdefault(name, type_of(x.tensor))
        return name

    def weight_or_none(self, x: Operand) -> str | None:
        return None if x is None else self.weight(x)

    def own(self, name: str) -> Stored | None:
        """A parameter of the module that the current call runs, by its state-dict name."""
        module, _, attribute = name.rpartition(".")
        tensor = getattr(self.call.target.get_submodule(module), attribute)
        if tensor is None:
            return None
        return Stored(self._names[memory_of(tensor)], tensor.detach(), type_of(tensor))

    def constant(self, tensor: Tensor) -> Stored:
        """A constant made while lowering."""
        return Stored("", tensor, type_of(tensor))

    def _constant_name(self, tensor: Tensor) -> str:
        content = tensor.detach().contiguous().cpu()
        data = content.reshape(-1).view(torch.uint8).numpy().tobytes()
        key = (content.dtype, tuple(content.shape), data)
        return self._constants.setdefault(key, f"constant.{len(self._constants)}")

    def type(self, x: Operand) -> TensorType:
        """The type of a tensor operand."""
        if isinstance(x, (Value, Stored)):
            return x.type
        return self.value(x).type

    def cast(self, x: Operand, dtype: str) -> Operand:
        """`x` in another dtype; constants are converted right away."""
        if self.type(x).dtype == dtype:
            return x
        if isinstance(x, Stored):
            changed = x.tensor.to(DTYPES[dtype])
            return Stored("", changed, TensorType(dtype, x.type.shape))
        return self.op("cast", x, dtype=dtype)

    # The current call.
    @property
    def result(self) -> TensorType:
        """The type that the current call's result had when it was traced."""
        if not isinstance(self.call.type, TensorType):
            self.refuse("has a result whose type cannot be expressed")
        return self.call.type

    def axis(self, dim: int, rank: int) -> int:
        """An axis counted from the end."""
        return dim if dim < 0 else dim - rank

    def axes(self, dim: Operand, rank: int) -> tuple[int, ...]:
        """Axes counted from the end; None means all of them."""
        if dim is None or dim == ():
            return tuple(range(-rank, 0))
        dims = dim if isinstance(dim, (tuple, list)) else (dim,)
        return tuple(self.axis(d, rank) for d in dims)

    def reshape(self, x: Operand, shape: tuple[Dim, ...]) -> Value:
        """`x` in another shape of as many elements."""
        value = self.value(x)
        before = self.producers.get(value)
        if value.type.shape != shape and before is not None and before.op == "reshape":
            value = before.inputs[0]
        if value.type.shape == shape:
            return value
        if _moves_images(value.type.shape, shape):
            self.refuse("spreads what belongs to an image over others", "keep the batch axis apart")
        return self.op("reshape", value, shape=shape)

    def permute(self, x: Operand, dims: tuple[int, ...]) -> Value:
        """`x` with its axes in another order."""
        value = self.value(x)
        before = self.producers.get(value)
        if before is not None and before.op == "permute":
            value, order = before.inputs[0], before.attr("dims")
            assert isinstance(order, tuple)
            dims = tuple(int(str(order[d])) for d in dims)
        return value if dims == tuple(range(len(dims))) else self.op("permute", value, dims=dims)

    def slice(self, x: Operand, dim: int, start: int, stop: int, step: int = 1) -> Value:
        """Part of `x` along one axis; out of a concatenation, from the operand that holds it."""
        value = self.value(x)
        before = self.producers.get(value)
        if before is not None and before.op == "cat" and before.attr("dim") == dim and step == 1:
            at = 0
            for part in before.inputs:
                extent = whole(part.type.shape[dim])
                if at <= start and stop <= at + extent:
                    return self.slice(part, dim, start - at, stop - at)
                at += extent
        if (start, stop, step) == (0, value.type.shape[dim], 1):
            return value
        self.size(value, dim)
        return self.op("slice", value, dim=dim, start=start, stop=stop, step=step)

    def expand(self, x: Operand, shape: tuple[Dim, ...]) -> Value:
        """`x` broadcast to `shape`."""
        value = self.value(x)
        if value.type.shape == shape:
            return value
        if (number := self.everywhere(value)) is not None:
            return self.op("full", shape=shape, value=number, dtype=value.type.dtype)
        return self.op("expand", value, shape=shape)

    def everywhere(self, x: Value) -> float | int | bool | None:
        """The number that every entry of a value is; None where that is not known."""
        made = self.producers.get(x)
        return scalar(made.attr("value")) if made is not None and made.op == "full" else None

    def size(self, x: Operand, dim: int) -> int:
        """An extent that has to be a number, not the batch size."""
        return self.fixed(self.type(x).shape[dim])

    def fixed(self, extent: Dim) -> int:
        """An extent, where it is a number and not the batch size."""
        if isinstance(extent, Sym):
            self.refuse(f"works along the batch axis ({extent})")
        return extent

    def counted(self, x: Operand, dim: int) -> int:
        """An extent that a table of as many numbers is made for: one that does not vary."""
        size = self.size(x, dim)
        if isinstance(size, Extent):
            self.refuse(f"needs a table of {size} numbers, which varies", "compile for one size")
        return size

    def refuse(self, what: str, remedy: str = "") -> NoReturn:
        """Raise the TraceError that the current call `what`, with what to do instead."""
        raise TraceError(self._told(f"{self.call.name} {what}", remedy))

    def _told(self, what: str, remedy: str) -> str:
        return f"{what}, at {self.call.loc}" + (f"; {remedy}" if remedy else "")


def _moves_images(before: tuple[Dim, ...], after: tuple[Dim, ...]) -> bool:
    """Whether a reshape has the batch axis elsewhere in memory; not told of axes folded into it."""
    leads = []
    for shape in (before, after):
        axes = [i for i, extent in enumerate(shape) if isinstance(extent, Sym)]
        if len(axes) != 1 or shape[axes[0]] != B:
            return False
        leads.append(math.prod(whole(extent) for extent in shape[: axes[0]]))
    return leads[0] != leads[1]


def scalar(x: Operand) -> float | int | bool | None:
    """The number behind a number or a constant without axes; None where it depends on sizes."""
    if isinstance(x, (bool, int, float)):
        return None if isinstance(x, Extent) else x
    if isinstance(x, Stored) and not x.name and x.tensor.dim() == 0:
        number: float | int | bool = x.tensor.item()
        return number
    return None


def tail(path: str) -> str:
    """The last part of a module path, with what an index belongs to: `layers_0`."""
    parts = path.split(".")
    start = len(parts) - 1
    while start > 0 and parts[start].isdigit():
        start -= 1
    return "_".join(parts[start:])
