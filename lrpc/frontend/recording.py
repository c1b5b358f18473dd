"""How calls of torch on traced tensors become nodes, decisions or refusals."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import is_tensor_method_or_property

from lrpc.errors import TraceError
from lrpc.frontend.attributes import (
    accessed,
    attribute,
    plain_argument,
    refused_argument,
    refused_dispatch,
    refused_function,
    refused_write,
    special,
)
from lrpc.frontend.constants import Constants
from lrpc.frontend.execute import (
    ANSWERS,
    FACTORIES,
    FACTORIES_ON_PLAIN,
    LAYOUTS,
    UNSET,
    call_name,
    execute,
    is_in_place,
)
from lrpc.frontend.factories import SIZED, with_numbers
from lrpc.frontend.gradients import Derives, gradients_are_on, values_only
from lrpc.frontend.leaves import is_users_function
from lrpc.frontend.made import recorded
from lrpc.frontend.proxy import TracedTensor, has_own_operations, plain
from lrpc.frontend.records import SHAPE_OF, Decision, found, kind_of, mapped, memory_of
from lrpc.frontend.running import ByShapes, Runner, stand_in
from lrpc.frontend.source_location import in_transform, source_place
from lrpc.frontend.true_places import TruePlaces
from lrpc.frontend.written import Written
from lrpc.ir.graph import Loc

DETACHING = frozenset({"detach", "data"})


class Recorder(fx.Tracer):
    """The part of a tracer that records calls. One that is not `active` records nothing more."""

    def __init__(self, shapes: ByShapes, ignore_no_grad: bool) -> None:
        super().__init__(autowrap_modules=())  # type: ignore[arg-type]
        self.runner = Runner(shapes)
        self.ignore_no_grad = ignore_no_grad
        self.active = False
        self.follows_sizes = False
        self._filled: set[int] = set()  # memory of numbers that values were written into
        self.observe: Callable[[fx.Node, Tensor], None] | None = None
        self.constants: Constants
        self.written = Written(self)
        self.true_places = TruePlaces()
        self.modules: list[str] = []
        self.decisions: dict[str, Decision] = {}
        self.stopped: dict[Loc, None] = {}
        self.refusal: TraceError | None = None
        self._derives = Derives(self.runner)

    def where(self) -> Loc:
        """The innermost module that runs, and the line of model code."""
        return Loc(self.modules[-1] if self.modules else "", *source_place())

    # What torch and fx call.

    def called(self, func: Any, types: tuple[type, ...], args: tuple[Any, ...], kwargs: Any) -> Any:
        """The result of a call of torch on traced tensors."""
        name = getattr(func, "__name__", "")  # what torch.jit.trace made has none
        if name in ("__get__", "__set__", "__delete__"):
            return accessed(self, name, attribute(func.__self__), args)
        for kind in types:
            if has_own_operations(kind):
                raise TraceError(
                    f"{kind.__name__} is a subclass of Tensor with operations of its own, at "
                    f"{self.where()}; use plain tensors, as by .as_subclass(torch.Tensor)"
                )
        if (refusal := refused_function(self, func)) is not None:
            raise refusal
        if is_tensor_method_or_property(func):
            meant, result = special(self, name, args, kwargs)
            return result if meant else self.create_proxy("call_method", name, args, kwargs)
        if is_users_function(func):
            raise TraceError(
                f"{name} treats tensors of special classes in its own way, at {self.where()}; "
                "call what it does for plain ones"
            )
        return self.create_proxy("call_function", func, args, kwargs)

    def untraceable(self, op: Any) -> TraceError:
        """The refusal of a call that reads a traced tensor without asking `called`."""
        self.refusal = refused_dispatch(op, in_transform(), self.where())
        return self.refusal

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta.update(loc=self.where(), type=None, writes=None, view_of=None, same=False)
        return node

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor):
            return a.node if type(a) is TracedTensor else self.intern(a)
        try:
            return super().create_arg(plain_argument(self, a))
        except NotImplementedError:
            raise refused_argument(self, a) from None

    def create_proxy(
        self, kind: str, target: Any, args: tuple[Any, ...], kwargs: Any, *_: Any, **__: Any
    ) -> Any:
        self.refusal = None
        name = "" if kind == "call_module" else call_name(target)
        if any(x.tracer is not self for x in found((args, kwargs), TracedTensor)):
            raise TraceError(f"tensors of two calls of the model meet in {name}, at {self.where()}")
        if kwargs.get("out") is not None:
            return self.written.into(kind, target, name, args, dict(kwargs))
        if name in SIZED:
            args, kwargs = with_numbers(self, name, args, kwargs, keep=1)
        args, kwargs = mapped((args, kwargs), slice, self._bounds)
        if name == "setitem":
            args = (args[0], self.true_places.instead(args[1]), *args[2:])
        self.true_places.seen(found((args, kwargs), TracedTensor))
        if name in ANSWERS:
            if name in LAYOUTS:
                self._needs_values(f"{name} asks how a tensor lies in memory")
            return self.runner.call(self.root, kind, target, *plain((args, kwargs)))
        on_plain = type(args[0]) is not TracedTensor if args else False
        follows = name in FACTORIES and self.follows_sizes
        if follows and (made := recorded(self, target, kind, name, args, kwargs)) is not None:
            return made
        if name in FACTORIES or (name in FACTORIES_ON_PLAIN and on_plain):
            lent = mapped((args, kwargs), TracedTensor, lambda x: stand_in(x.value))
            with values_only():
                made = execute(kind, target, self.root, *lent)
                return made.zero_() if name in UNSET else made
        if is_in_place(name) and on_plain:
            self.written.adopt(args[0], name)
        return self._recorded(kind, target, name, args, kwargs)

    # How a call is recorded.

    def _recorded(self, kind: str, target: Any, name: str, args: Any, kwargs: Any) -> Any:
        following = self.ignore_no_grad or gradients_are_on(self.where(), self._derives)
        if following and name not in DETACHING:
            args, kwargs = mapped((args, kwargs), TracedTensor, self.outside)
        operands: list[TracedTensor] = found((args, kwargs), TracedTensor)
        before = [(x.value._version, x.value.shape) for x in operands]
        values, given = [x.value for x in operands], plain((args, kwargs))
        of_sizes = all(map(self.knows, operands)) and kind != "call_module"
        result = self.runner.call(self.root, kind, target, given[0], given[1], values, of_sizes)
        node = self.create_node(kind, target, self.create_arg(args), self.create_arg(kwargs))
        for x, (version, shape) in zip(operands, before, strict=True):
            if x.value._version != version:  # views share the count: the first is the one
                self._note_write(node, x, name, following, x.value.shape == shape)
                if x.of_sizes and not of_sizes:
                    self._filled.add(x.value.untyped_storage().data_ptr())
                break
        carries = any(x.carries for x in operands) and name not in DETACHING
        stops = carries or any(x.stopped for x in operands)
        for x in operands:
            if node.meta["writes"] is x.node:
                self._write_in(x, carries and following, stops and not following)
        made = self._wrap(node, result, operands, name)
        self.true_places.note(name, args, kwargs, made)
        for x in found(made, TracedTensor):
            if self.runner.sized:  # read by whoever asks for its shape, and by what comes of it
                self.decide(f"{SHAPE_OF}{name}", values[0], list(x.value.shape))
            x.of_sizes = of_sizes
            if x.value.is_floating_point() or x.value.is_complex():
                x.carries, x.stopped = carries and following, stops and not following
        return made

    def _write_in(self, x: TracedTensor, carries: bool, stopped: bool) -> None:
        """Note what autograd makes of a tensor that was written into."""
        x.carries, x.stopped = x.carries or carries, x.stopped or stopped
        if carries:
            self.written.wrote(x)

    def _needs_values(self, what: str) -> None:
        if self.runner.alone:
            raise TraceError(f"{what} where there is only a shape, at {self.where()}")

    def _note_write(
        self, node: fx.Node, x: TracedTensor, name: str, following: bool, same_shape: bool
    ) -> None:
        self._needs_values(f"{name} writes in place")
        node.meta["writes"] = x.node
        if (refusal := refused_write(self, x, name, following, same_shape)) is not None:
            raise refusal

    def _wrap(self, node: fx.Node, result: Any, operands: list[TracedTensor], name: str) -> Any:
        if isinstance(result, Tensor):
            return self.made(node, result, operands)
        if result is None:
            return None
        if isinstance(result, (tuple, list)) and all(
            isinstance(x, Tensor) or x is None for x in result
        ):
            node.meta["type"] = tuple(None if x is None else kind_of(x) for x in result)
            parts = [
                None if x is None else self._part(node, i, x, operands)
                for i, x in enumerate(result)
            ]
            return type(result)(parts)
        self.graph.erase_node(node)
        if not isinstance(result, (bool, int, float, list)):
            raise TraceError(
                f"{name} leaves torch for {type(result).__name__}, at {self.where()}; "
                "use torch's functions on the tensor instead"
            )
        known = all(map(self.knows, operands))
        return result if known else self.decide(name, operands[0].value, result)

    def _part(self, node: fx.Node, index: int, value: Tensor, operands: list[TracedTensor]) -> Any:
        part = self.create_node("call_function", operator.getitem, (node, index), {})
        return self.made(part, value, operands)

    def made(self, node: fx.Node, value: Tensor, operands: list[TracedTensor]) -> TracedTensor:
        """The traced tensor that `node` gives."""
        if value.layout is not torch.strided:
            raise TraceError(
                f"{call_name(node.target)} gives a tensor with layout {value.layout}, at "
                f"{self.where()}; use dense tensors"
            )
        node.meta["type"] = kind_of(value)
        if self.observe is not None:
            self.observe(node, value)
        for x in operands if self.runner.fake is None else ():
            if value.untyped_storage().data_ptr() == x.value.untyped_storage().data_ptr() != 0:
                node.meta.update(view_of=x.node, same=memory_of(value) == memory_of(x.value))
                break
        return TracedTensor(node, self, value)

    def outside(self, x: TracedTensor) -> TracedTensor:
        """`x` where gradients are on: detached, if the model computed it where they were off."""
        if not x.stopped or self.ignore_no_grad:
            return x
        if x.outside is None:
            self.stopped[x.node.meta["loc"]] = None
            x.outside = self._recorded("call_method", "detach", "detach", (x,), {})
            x.outside.stopped = False
        return x.outside

    def intern(self, tensor: Tensor) -> fx.Node:
        """The node of a plain tensor."""
        if isinstance(tensor, FakeTensor):
            raise TraceError(f"a constant has a shape but no value, at {self.where()}")
        if self.written:
            self.written.follow(tensor)
            if type(tensor) is TracedTensor:
                return tensor.node
        return self.constants.node_of(tensor)

    # What model code reads out of values.

    def quiet(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """What a function makes of plain tensors and numbers."""
        with values_only():
            return function(*args, **kwargs)

    def number(self, what: str, x: TracedTensor) -> Any:
        """The numbers in a tensor, noted as a decision unless they are those of sizes."""
        if self.knows(x):
            return x.value.tolist()
        return self.decide(what, x.value, None if self.runner.fake else x.value.tolist())

    def knows(self, x: TracedTensor) -> bool:
        """Whether what is in a tensor follows from the sizes of the inputs."""
        return x.of_sizes and x.value.untyped_storage().data_ptr() not in self._filled

    def decide(self, what: str, value: Tensor, result: Any) -> Any:
        """Note that model code read `result` out of a traced tensor, and return it."""
        if self.runner.fake is not None:
            raise TraceError(f"{what} reads a value where there is only a shape, at {self.where()}")
        text = " ".join(str(result).split()) if isinstance(result, str) else str(result)
        decision = Decision(what, tuple(value.shape), text[:40], self.where())
        self.decisions[str(decision)] = decision
        return result

    def _bounds(self, ends: slice) -> slice:
        """A slice with its traced ends as numbers."""
        if not found(ends, TracedTensor):
            return ends
        return slice(*with_numbers(self, "slice", (ends.start, ends.stop, ends.step), {})[0])
