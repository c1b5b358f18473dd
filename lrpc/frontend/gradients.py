"""Where the model itself turns gradients off, and how the tracer runs beside that."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

import torch
from torch import nn

from lrpc.errors import TraceError
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


def gradients_are_on(place: Loc) -> bool:
    """Whether autograd would follow the call that the model makes now.

    TraceError in the `forward` of a `torch.autograd.Function`: its gradient is its own, not that of
    what it computes. Checkpointing computes the same with gradients later, so it changes nothing.
    """
    if torch.is_grad_enabled():
        return True
    frame: FrameType | None = sys._getframe(1)
    functions = _functions()
    while frame is not None and frame.f_code.co_name != "run_traced":
        function = functions.get(frame.f_code)
        if function is not None:
            if function is torch.utils.checkpoint.CheckpointFunction:
                return True
            raise TraceError(
                f"{function.__name__} is a torch.autograd.Function with a gradient of its own, at "
                f"{place}; write what it computes as plain functions"
            )
        frame = frame.f_back
    return False


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
