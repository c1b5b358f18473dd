"""The tensor that stands for one that depends on the inputs, and carries its value."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor

from lrpc.errors import TraceError
from lrpc.frontend.records import found, mapped
from lrpc.frontend.source_location import source_place

if TYPE_CHECKING:
    from lrpc.frontend.recording import Recorder


class TracedTensor(Tensor, fx.Proxy):  # type: ignore[misc]  # Tensor's operators come first
    """Stands for a tensor that depends on the inputs, and answers questions about it.

    It is a tensor for `isinstance` and for torch, but without memory: every function, method,
    operator and attribute comes by `__torch_function__`, and what reads a tensor some other way
    comes by `__torch_dispatch__`, which refuses. So nothing sees the value but the tracer. It lies
    on this object, not on the node, and goes as soon as model code drops the object.
    """

    tracer: Recorder
    node: fx.Node
    value: Tensor
    carries: bool
    """Whether autograd would pass a gradient from here to the inputs."""
    stopped: bool
    """Whether it would, had the model not computed this under `torch.no_grad()`."""
    of_sizes: bool
    """Whether it depends on the sizes of the inputs alone, not on what is in them."""

    @staticmethod
    def __new__(cls, node: fx.Node, tracer: Recorder, value: Tensor) -> TracedTensor:
        strides = value.stride() if value.layout is torch.strided else None
        made: TracedTensor = Tensor._make_wrapper_subclass(
            cls, value.shape, strides=strides, dtype=value.dtype, device=value.device
        )
        return made

    def __init__(self, node: fx.Node, tracer: Recorder, value: Tensor) -> None:
        self.node, self.tracer, self.value = node, tracer, value
        self.carries = self.stopped = self.of_sizes = False
        self.outside: TracedTensor | None = None

    def __call__(self) -> TracedTensor:
        """`callable` holds of fx's proxies: code that calls what is callable means the tensor."""
        return self

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] | None = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        args, kwargs = args or (), kwargs or {}
        return _tracer_of(args, kwargs).called(func, types, args, kwargs)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        raise _tracer_of(args, kwargs or {}).untraceable(func)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"'Tensor' object has no attribute {name!r}")

    def __copy__(self) -> Tensor:
        return self.view_as(self)

    @property
    def keys(self) -> Any:  # tensors are no mappings
        raise AttributeError("'Tensor' object has no attribute 'keys'")


TracedTensor.__name__ = TracedTensor.__qualname__ = "Tensor"  # as errors of torch call it


def _tracer_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recorder:
    """The tracer of the traced tensors in a call; TraceError where it is not running any more."""
    for x in found((args, kwargs), TracedTensor):
        if not x.tracer.active:
            file, line = source_place()
            where = f", at {file}:{line}" if file else ""
            raise TraceError(
                f"the model uses a tensor that it computed in an earlier call{where}; "
                "clear its cache before compiling, or compute the tensor in every call"
            )
    operands = found((args, kwargs), TracedTensor)
    if not operands:
        file, line = source_place()
        raise TraceError(
            f"traced tensors go into a call inside an object of the model's own, at {file}:{line};"
            " pass them in tuples, lists or dicts"
        )
    tracer: Recorder = operands[0].tracer
    return tracer


def has_own_operations(kind: type) -> bool:
    """Whether a subclass of Tensor changes what operations mean."""
    own = [c for c in kind.__mro__ if c not in Tensor.__mro__ and c is not nn.Parameter]
    if kind is TracedTensor or issubclass(kind, FakeTensor):
        return False
    return any("__torch_function__" in vars(c) or "__torch_dispatch__" in vars(c) for c in own)


def plain(tree: Any) -> Any:
    """Arguments with the values of traced tensors."""
    return mapped(tree, TracedTensor, lambda x: x.value)
