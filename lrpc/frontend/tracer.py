"""A torch.fx tracer whose proxies carry values: real model code runs, and leaves a graph behind."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils.weak import WeakIdKeyDictionary

from lrpc.errors import TraceError
from lrpc.frontend.execute import (
    ANSWERS,
    FACTORIES,
    FACTORIES_ON_PLAIN,
    call_name,
    execute,
    is_in_place,
)
from lrpc.frontend.execute import IN_PLACE_OPERATORS as OPERATORS
from lrpc.frontend.leaves import (
    is_leaf,
    is_users_function,
    leaf_functions,
    shape_of_leaf,
    tensors_are_tensors,
)
from lrpc.frontend.places import raised_place, source_place
from lrpc.frontend.proxy import ValueProxy
from lrpc.frontend.records import Boundary, Input, found, mapped, memory_of
from lrpc.frontend.structure import nested
from lrpc.ir.graph import Loc


@dataclass(frozen=True)
class Trace:
    """One run: the fx graph, the tensors it met, the module calls asked for, the nested output.

    Nested results hold nodes of `graph`. Node meta: `type` (dtype and shape), `loc`, `writes`,
    `view_of` and `same` (see `Call`).
    """

    model: nn.Module
    graph: fx.Graph
    stored: Mapping[str, Tensor]  # parameters and buffers by name, constants as `constant.N`
    boundaries: tuple[Boundary, ...]
    output: Any
    decisions: tuple[str, ...]


class ValueTracer(fx.Tracer):
    """Traces one call of a module on example arguments; `watched` modules' calls are noted down.

    With `shapes_only` values are shapes and dtypes alone: quick, but code that reads numbers out of
    traced tensors, and in-place links (`writes`, `view_of`), need a full trace.

    Everything that does not depend on the arguments' tensors is computed right away and shows up as
    a constant. Numbers that model code reads out of traced tensors are listed as decisions.
    """

    def __init__(
        self,
        watched: Collection[str] = (),
        shapes_only: bool = False,
        observe: Callable[[fx.Node, Tensor], None] | None = None,
    ) -> None:
        super().__init__(autowrap_modules=())  # type: ignore[arg-type]
        self.watched = watched
        self.observe = observe  # is shown every tensor as it is computed
        self.fake = FakeTensorMode(allow_non_fake_inputs=True) if shapes_only else None
        self.running = False
        self.modules: list[str] = []
        self.boundaries: list[Boundary] = []
        self.decisions: dict[str, None] = {}
        self.stored: dict[str, Tensor] = {}
        self._fetched: dict[str, fx.Node] = {}
        self._interned: Any = WeakIdKeyDictionary()  # tensor → (its version, node)
        self._output: Any = None
        self._raised: tuple[Exception | None, str] = (None, "")  # an error, and the module it left

    def record(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
        """Run `model` on arguments whose tensors are `Input`s, and return what was recorded."""
        self._arguments = (args, kwargs)
        self._names: dict[object, str] = {}
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            self._names.setdefault(memory_of(tensor), name)
        try:
            with leaf_functions(), tensors_are_tensors(model), torch.no_grad():
                graph = self.trace(model)
        except TraceError:
            raise
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            module = self._raised[1] if self._raised[0] is error else ""
            place = Loc(module, *raised_place(error))
            raise TraceError(f"{type(error).__name__} at {place}: {reason}") from error
        decisions = tuple(self.decisions)
        return Trace(model, graph, self.stored, tuple(self.boundaries), self._output, decisions)

    def where(self) -> Loc:
        """The innermost module that runs, and the line of model code."""
        return Loc(self.modules[-1] if self.modules else "", *source_place())

    # How fx calls the root, calls modules and reads their attributes.

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        args, kwargs = mapped(self._arguments, Input, self._placeholder)

        def run_traced() -> None:
            self.modules.append("")
            result = nested(root_fn(self.root, *args, **kwargs))
            self._close("", args, kwargs, result)
            self._output = self._nodes(result)
            self.modules.pop()

        return run_traced, []

    def _placeholder(self, given: Input) -> ValueProxy:
        node = self.create_node("placeholder", given.name, (), {})
        if self.fake is not None:
            return self._proxy(node, self.fake.from_tensor(given.value.detach()), [])
        return self._proxy(node, given.value.detach().clone(), [])

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        path = (self.submodule_paths or {}).get(m)
        if self.running or path is None:  # a module made on the fly has no path
            return forward(*args, **kwargs)
        self.modules.append(path)
        try:
            if is_leaf(m) and found((args, kwargs), ValueProxy):
                result = self.create_proxy("call_module", path, args, kwargs)
            else:
                result = forward(*args, **kwargs)
            self._close(path, args, kwargs, result)
        except Exception as error:
            self._raised = self._raised if self._raised[0] is error else (error, path)
            raise
        finally:
            self.modules.pop()
        return result

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val  # parameters stay tensors: what is computed from them alone is constant

    def _close(self, path: str, args: Any, kwargs: Any, result: Any) -> None:
        if path in self.watched:
            inputs = tuple(self._nodes(x) for x in _tensors((args, kwargs)))
            self.boundaries.append(Boundary(path, inputs, self._nodes(nested(result))))

    def _nodes(self, tree: Any) -> Any:
        plain = mapped(tree, ValueProxy, lambda proxy: proxy.node)
        return mapped(plain, Tensor, self._intern)

    # How calls become nodes.

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta.update(loc=self.where(), type=None, writes=None, view_of=None, same=False)
        return node

    def create_arg(self, a: Any) -> Any:
        if type(a) is ValueProxy:
            return a.node
        return self._intern(a) if isinstance(a, Tensor) else super().create_arg(a)

    def create_proxy(
        self, kind: str, target: Any, args: tuple[Any, ...], kwargs: Any, *_: Any, **__: Any
    ) -> Any:
        if is_users_function(target):
            return target(*args, **kwargs)
        name = "" if kind == "call_module" else call_name(target)
        if name in OPERATORS and name != "setitem" and type(args[0]) is not ValueProxy:
            kind, target, name = "call_method", OPERATORS[name], OPERATORS[name]
        plain = mapped((args, kwargs), ValueProxy, lambda proxy: proxy.value)
        if name in ANSWERS:
            return self._run(kind, target, plain)
        if name in FACTORIES or (name in FACTORIES_ON_PLAIN and type(args[0]) is not ValueProxy):
            lent = mapped((args, kwargs), ValueProxy, lambda proxy: _stand_in(proxy.value))
            return execute(kind, target, self.root, *lent)
        if is_in_place(name) and type(args[0]) is not ValueProxy:
            raise TraceError(
                f"{name} writes traced values into a plain tensor, at {self.where()}; "
                "build the result with torch.cat or torch.stack instead"
            )
        operands = found((args, kwargs), ValueProxy)
        versions = [x.value._version for x in operands]
        result = self._run(kind, target, plain)
        node = self.create_node(kind, target, self.create_arg(args), self.create_arg(kwargs))
        for x, version in zip(operands, versions, strict=True):
            if x.value._version != version:  # views share the count: the first is the one
                node.meta["writes"] = x.node
                break
        return self._wrap(node, result, operands, name)

    def _run(self, kind: str, target: Any, plain: Any) -> Any:
        outer, self.running = self.running, True
        try:
            args, kwargs = plain
            if self.fake is not None:
                return self._shaped(kind, target, args, kwargs)
            return execute(kind, target, self.root, args, kwargs)
        finally:
            self.running = outer

    def _shaped(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        """The shape of a result; plain numbers in tensors stay numbers."""
        assert self.fake is not None
        args, kwargs = mapped((args, kwargs), Tensor, _as_number)
        with self.fake:
            if kind == "call_module":
                shaped = shape_of_leaf(self.root.get_submodule(target), args, kwargs)
                if shaped is not None:
                    return shaped
            return execute(kind, target, self.root, args, kwargs)

    def _wrap(self, node: fx.Node, result: Any, operands: list[ValueProxy], name: str) -> Any:
        if isinstance(result, Tensor):
            return self._proxy(node, result, operands)
        if result is None:
            return None
        if isinstance(result, (tuple, list)) and all(
            isinstance(x, Tensor) or x is None for x in result
        ):
            node.meta["type"] = tuple(None if x is None else _kind(x) for x in result)
            parts = [
                None if x is None else self._part(node, i, x, operands)
                for i, x in enumerate(result)
            ]
            return type(result)(parts)
        self.graph.erase_node(node)
        if not isinstance(result, (bool, int, float, list)):
            raise TraceError(f"{name} leaves torch for {type(result).__name__}, at {self.where()}")
        return self.decide(name, operands[0].value, result)

    def _part(self, node: fx.Node, index: int, value: Tensor, operands: list[ValueProxy]) -> Any:
        part = self.create_node("call_function", operator.getitem, (node, index), {})
        return self._proxy(part, value, operands)

    def _proxy(self, node: fx.Node, value: Tensor, operands: list[ValueProxy]) -> ValueProxy:
        node.meta["type"] = _kind(value)
        if self.observe is not None:
            self.observe(node, value)
        for x in operands if self.fake is None else ():
            if value.untyped_storage().data_ptr() == x.value.untyped_storage().data_ptr() != 0:
                node.meta.update(view_of=x.node, same=memory_of(value) == memory_of(x.value))
                break
        return ValueProxy(node, self, value)

    def _intern(self, tensor: Tensor) -> fx.Node:
        if isinstance(tensor, FakeTensor):
            raise TraceError(f"a constant has a shape but no value, at {self.where()}")
        name = self._names.get(memory_of(tensor)) if tensor.numel() else None
        if name is not None:
            if name not in self._fetched:
                self.stored[name] = tensor.detach()
                self._fetched[name] = self._stored(name, tensor)
            return self._fetched[name]
        node: fx.Node | None
        version, node = self._interned.get(tensor, (-1, None))
        if node is None or version != tensor._version:
            name = f"constant.{sum(k.startswith('constant.') for k in self.stored)}"
            self.stored[name] = tensor.detach().clone()
            node = self._stored(name, tensor)
            self._interned[tensor] = (tensor._version, node)
        return node

    def _stored(self, name: str, tensor: Tensor) -> fx.Node:
        node = self.create_node("get_attr", name, (), {})
        node.meta["type"] = _kind(tensor)
        return node

    def decide(self, what: str, value: Tensor, result: Any) -> Any:
        """Note that model code read `result` out of a traced tensor, and return it."""
        if self.fake is not None:
            raise TraceError(f"{what} reads a value where there is only a shape, at {self.where()}")
        shape = ",".join(map(str, value.shape))
        text = f"{what} of [{shape}] is {str(result)[:40]}, at {self.where()}"
        self.decisions[text] = None
        return result


def _kind(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...]]:
    return tensor.dtype, tuple(tensor.shape)


def _as_number(x: Tensor) -> Any:
    whole = not x.is_floating_point() and x.dtype != torch.bool
    return int(x) if x.dim() == 0 and whole and not isinstance(x, FakeTensor) else x


def _stand_in(value: Tensor) -> Tensor:
    """A plain tensor of the same type, with nothing in it."""
    return torch.zeros((), dtype=value.dtype, device=value.device).expand(value.shape)


def _tensors(tree: Any) -> list[Any]:
    """Traced and plain tensors among arguments, in order."""
    return [x for x in found(tree, object) if isinstance(x, (Tensor, ValueProxy))]
