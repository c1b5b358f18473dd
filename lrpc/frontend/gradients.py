"""Where the model itself turns gradients off, and how the tracer runs beside that."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from lrpc.errors import TraceError
from lrpc.frontend.proxy import plain
from lrpc.ir.graph import Loc


@contextmanager
def values_only() -> Iterator[None]:
    """While active, torch computes values alone, also where the model is in inference mode."""
    if torch.is_inference_mode_enabled():
        with torch.inference_mode(False), torch.no_grad():
            yield
    else:
        with torch.no_grad():
            yield


def with_backward_hooks(model: nn.Module) -> tuple[str, ...]:
    """The modules that change gradients by hooks of their own, by path; `model` is "the model"."""
    return tuple(
        path or "the model"
        for path, module in model.named_modules()
        if module._backward_hooks or module._backward_pre_hooks
    )


def gradients_are_on(place: Loc, derives: Derives) -> bool:
    """Whether autograd would follow the call that the model makes now.

    TraceError in the `forward` of a `torch.autograd.Function` whose gradient is its own, not that
    of what it computes, as `derives` finds out by its call. Checkpointing computes the same with
    gradients later, so it changes nothing.
    """
    if torch.is_grad_enabled():
        return True
    frame: FrameType | None = sys._getframe(1)
    functions = _functions()
    while frame is not None and frame.f_code.co_name != "run_traced":
        function = functions.get(frame.f_code)
        if function is not None:
            if function is torch.utils.checkpoint.CheckpointFunction or derives(function, frame):
                return True
            raise TraceError(
                f"{function.__name__} is a torch.autograd.Function with a gradient of its own, at "
                f"{place}; write what it computes as plain functions"
            )
        frame = frame.f_back
    return False


class Runs(Protocol):
    """What runs calls beside the tracer, which notes none while it is busy."""

    busy: bool


class Derives:
    """Whether an autograd Function that runs in a frame has the gradient of what it computes; found
    out once for each call of it."""

    def __init__(self, runner: Runs) -> None:
        self.runner = runner
        self.last: tuple[FrameType | None, bool] = (None, False)

    def __call__(self, function: Any, frame: FrameType) -> bool:
        if self.last[0] is not frame:
            names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
            given = plain([frame.f_locals[name] for name in names])
            outer, self.runner.busy = self.runner.busy, True
            try:
                found = is_derivative(function, given if _set_up(function) else given[1:])
            finally:
                self.runner.busy = outer
            self.last = (frame, found)
        return self.last[1]


def _set_up(function: Any) -> bool:
    """Whether `forward` is not given the context, which another function sets up."""
    return function.setup_context is not torch.autograd.Function.setup_context


def is_derivative(function: Any, args: Sequence[Any]) -> bool:
    """Whether the gradient of a `torch.autograd.Function` is that of what its `forward` computes:
    for these values, and for larger ones."""
    generator = torch.Generator().manual_seed(0)

    def drawn(x: Any) -> Any:
        moving = isinstance(x, Tensor) and x.is_floating_point()
        return 3 * torch.randn(x.shape, generator=generator, dtype=x.dtype) if moving else x

    if any(isinstance(x, FakeTensor) for x in args):
        args = [drawn(x) for x in args]  # of a shape alone
    try:
        return all(_agrees(function, given) for given in (args, [drawn(x) for x in args]))
    except (RuntimeError, TypeError, ValueError):
        return False


def _agrees(function: Any, args: Sequence[Any]) -> bool:
    context = () if _set_up(function) else (torch.autograd.function.FunctionCtx(),)
    slopes = []
    for call in (function.apply, lambda *given: function.forward(*context, *given)):
        given = [x.detach().clone() if isinstance(x, Tensor) else x for x in args]
        leaves = [x.requires_grad_() for x in given if _moves(x)]
        with torch.inference_mode(False), torch.enable_grad():
            results = call(*given)
            made = [y for y in (results if isinstance(results, tuple) else (results,)) if _moves(y)]
            total = torch.stack([(y * torch.sin(1 + y.detach())).sum() for y in made]).sum()
            slopes.append(torch.autograd.grad(total, leaves))
    pairs = zip(*slopes, strict=True)
    return bool(leaves) and all(
        bool((a - b).abs().max() <= 1e-5 * b.abs().max()) for a, b in pairs if a.numel()
    )


def _moves(x: object) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def _functions() -> dict[CodeType, type]:
    """Every `torch.autograd.Function` by the code of its `forward`. Since torch 2.14 no frame tells
    of `apply`, which calls it."""
    found: dict[CodeType, type] = {}
    kinds = [torch.autograd.Function]
    while kinds:
        kind = kinds.pop()
        code = getattr(kind.forward, "__code__", None)
        if code is not None and kind is not torch.autograd.Function:
            found.setdefault(code, kind)
        kinds += kind.__subclasses__()
    return found
