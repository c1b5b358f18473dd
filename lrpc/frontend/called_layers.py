"""Which layers of a model an example passes through: the modules that call no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.errors import ConfigError, LrpcError, TraceError


@dataclass(frozen=True)
class Layer:
    """One call of a layer: its name (`path`, or `path@CALL` where it is called several times) and
    its place, the first input of that call."""

    name: str
    place: str


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """`model` in evaluation mode; every module is as it was afterwards. ConfigError for what is no
    module."""
    if not isinstance(model, nn.Module):
        raise ConfigError(f"a model is a torch.nn.Module, got {type(model).__name__}")
    before = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in before.items():
            module.training = training


def called_layers(model: nn.Module, example: Tensor) -> list[Layer]:
    """Every call of a layer that takes a float tensor, in the order in which they begin. Raises
    TraceError where the model fails on the example."""
    calls: list[str] = []
    inside: list[int] = []  # how many calls each open call has made
    leaves: list[int] = []
    paths = {module: path for path, module in model.named_modules() if path}

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        if inside:
            inside[-1] += 1
        inside.append(0)
        takes = bool(args) and isinstance(args[0], Tensor) and args[0].is_floating_point()
        calls.append(paths[module] if takes else "")
        opened.append(len(calls) - 1)

    def leave(module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        number = opened.pop()
        if inside.pop() == 0 and calls[number]:
            leaves.append(number)

    opened: list[int] = []
    hooks = [m.register_forward_pre_hook(enter) for m in paths]
    hooks += [m.register_forward_hook(leave) for m in paths]
    try:
        with torch.no_grad():
            model(example)
    except LrpcError:
        raise
    except Exception as error:  # whatever the user's model raises
        reason = str(error).partition("\n")[0]
        raise TraceError(
            f"the model fails on the example: {type(error).__name__}: {reason}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return _named([calls[number] for number in sorted(leaves)])


def _named(paths: list[str]) -> list[Layer]:
    total, seen, layers = Counter(paths), Counter[str](), []
    for path in paths:
        call = seen[path]
        seen[path] += 1
        name = path if total[path] == 1 else f"{path}@{call}"
        layers.append(Layer(name, f"{path}@{call}:in0"))
    return layers
