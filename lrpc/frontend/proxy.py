"""The proxy that carries the value its node had on the example."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor, fx

if TYPE_CHECKING:
    from lrpc.frontend.tracer import ValueTracer

OPERATIONS = frozenset({"T", "mT", "data"})  # properties that compute


class ValueProxy(fx.Proxy):
    """Stands for a tensor that depends on the inputs, and answers questions about it.

    The value lives on the proxy, not on the node: it goes as soon as model code drops the proxy.
    """

    tracer: ValueTracer

    def __init__(self, node: fx.Node, tracer: ValueTracer, value: Tensor) -> None:
        super().__init__(node, tracer)
        self.value = value

    def __getattr__(self, name: str) -> Any:
        if name in OPERATIONS:
            return self.tracer.create_proxy("call_method", name, (self,), {})
        if callable(getattr(Tensor, name, None)):
            return self._method(name)
        return getattr(self.value, name)

    def _method(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self.tracer.create_proxy("call_method", name, (self, *args), kwargs)

        return call

    @property
    def shape(self) -> Any:
        return self.value.shape

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return iter([self._method("__getitem__")(i) for i in range(len(self.value))])

    def __bool__(self) -> bool:
        return bool(self.tracer.decide("bool", self.value, self._number()))

    def __int__(self) -> int:
        return int(self.tracer.decide("int", self.value, self._number()))

    __index__ = __int__

    def __float__(self) -> float:
        return float(self.tracer.decide("float", self.value, self._number()))

    def _number(self) -> Any:
        return self.value.item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})


def _in_place(name: str) -> Callable[..., Any]:
    target = getattr(operator, name)

    def call(self: ValueProxy, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", target, (self, other), {})

    return call


for _name in ("iadd", "isub", "imul", "itruediv", "iand", "ior", "ipow"):
    setattr(ValueProxy, f"__{_name}__", _in_place(_name))
