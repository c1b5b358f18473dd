"""Example calls: arguments by the forward signature, batches of two sizes, calls of a submodule."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.errors import TraceError
from lrpc.frontend.containers import Containers
from lrpc.frontend.records import Input, found, mapped
from lrpc.support.untrusted import nearest


@dataclass(frozen=True)
class Example:
    """One call of a module; tensors among the arguments are `Input`s."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def elements(self) -> int:
        """How much goes in."""
        return sum(x.value.numel() for x in found((self.args, self.kwargs), Input))


class _Reached(Exception):
    """The submodule that is looked for is about to run."""


ONE_AT_A_TIME = threading.RLock()
"""Held while a model, torch or a library is changed for tracing: two at once would each put back
what the other had changed."""


@contextmanager
def as_for_inference(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every attribute is as it was, with what lists,
    dicts and sets among them hold.

    Parameters need no gradient meanwhile, so that nothing is kept for one where the model, or its
    tracer, turns gradients on. One thread at a time: others wait. TraceError where the model
    changes a parameter or a buffer while it runs.
    """
    with ONE_AT_A_TIME, _for_inference(model):
        yield


@contextmanager
def _for_inference(model: nn.Module) -> Iterator[None]:
    _check_dense(model)
    modules = [m for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]
    state = [(f"buffer {name!r}", x, x.clone()) for name, x in model.named_buffers()]
    state += [
        (f"parameter {name!r}", x, x.detach().clone()) for name, x in model.named_parameters()
    ]
    tables = ("_parameters", "_buffers", "_modules")
    before = [(dict(vars(m)), {table: dict(vars(m)[table]) for table in tables}) for m in modules]
    containers = Containers([list(vars(m).values()) for m in modules])
    learning = [p for p in model.parameters() if p.requires_grad and p.is_leaf]
    try:
        _evaluate(model)
        for parameter in learning:
            parameter.requires_grad_(False)
        with torch.no_grad():
            yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module, (attributes, kept) in zip(modules, before, strict=True):
            vars(module).clear()
            vars(module).update(attributes)
            for table, content in kept.items():
                attributes[table].clear()
                attributes[table].update(content)
        containers.restore()
        written = [(name, x, old) for name, x, old in state if not _same(x, old)]
        for _, tensor, old in written:
            if tensor.shape == old.shape and tensor.dtype == old.dtype:
                tensor.data.copy_(old)  # what shares its memory is as it was, too
            else:
                tensor.data = old
    if written:
        raise TraceError(
            f"the model writes into its {written[0][0]} while it runs, so that calls "
            "differ; keep what it computes in new tensors"
        )


def _check_dense(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.layout is not torch.strided or tensor.is_nested:
            raise TraceError(f"{name} is no dense tensor ({tensor.layout}); keep it dense instead")


def _evaluate(model: nn.Module) -> None:
    try:
        model.eval()
    except NotImplementedError:  # as of what torch.export made
        raise TraceError(
            f"{type(model).__name__} has no evaluation mode; give the module that it was made of"
        ) from None


def _same(x: Tensor, old: Tensor) -> bool:
    """Whether a tensor holds what it held, NaN included."""
    if x.shape != old.shape or x.dtype != old.dtype:
        return False
    return torch.equal(x, old) or bool(((x == old) | ((x != x) & (old != old))).all())


def submodule(model: nn.Module, path: str) -> nn.Module:
    """The submodule at `path`; TraceError with the nearest paths where there is none."""
    known: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    if path not in known:
        close = nearest(path, filter(None, known), 3, 0.3)
        raise TraceError(f"no module {path!r} in the model; nearest: {', '.join(close) or 'none'}")
    return known[path]


def model_example(
    model: nn.Module, inputs: Mapping[str, Tensor], constants: Mapping[str, Any]
) -> Example:
    """The call of `model` on named arguments."""
    named = {name: Input(name, tensor) for name, tensor in inputs.items()}
    signature = inspect.signature(model.forward)
    for name, tensor in inputs.items():
        if not isinstance(tensor, Tensor):
            kind = type(tensor).__name__
            raise TraceError(
                f"input {name!r} is a {kind}; inputs are tensors, use constants for it"
            )
    try:
        bound = signature.bind(**named, **constants)
    except TypeError as error:
        takes = ", ".join(signature.parameters)
        raise TraceError(f"{type(model).__name__}.forward({takes}): {error}") from None
    return Example(bound.args, bound.kwargs)


def captured(model: nn.Module, module: nn.Module, scope: str, example: Example) -> Example:
    """The first call of `module` while `model` runs on `example`; its tensors become inputs."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def reached(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))
        raise _Reached

    handle = module.register_forward_pre_hook(reached, prepend=True, with_kwargs=True)
    try:
        model(*_plain(example.args), **_plain(example.kwargs))
    except _Reached:
        pass
    finally:
        handle.remove()
    if not calls:
        raise TraceError(f"the model does not call its module {scope!r} on this example")
    return named_arguments(inspect.signature(module.forward).bind(*calls[0][0], **calls[0][1]))


def named_arguments(bound: inspect.BoundArguments) -> Example:
    """A call with the tensors in its arguments as inputs."""
    for name, value in list(bound.arguments.items()):
        kind = bound.signature.parameters[name].kind
        flat = kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        bound.arguments[name] = named(value, "" if flat and isinstance(value, dict) else name)
    return Example(bound.args, bound.kwargs)


def named(value: Any, name: str) -> Any:
    """Tensors in nested arguments as inputs, named by the path to each."""
    if isinstance(value, Tensor):
        return Input(name, value)
    if isinstance(value, dict):
        return {k: named(v, f"{name}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = [named(getattr(value, k), f"{name}.{k}") for k in value._fields]
        return type(value)(*parts)
    if isinstance(value, (tuple, list)):
        return type(value)(named(v, f"{name}.{i}") for i, v in enumerate(value))
    return value


def of_size(example: Example, size: int, fixed: Collection[str]) -> Example:
    """The same call on a batch of `size` images: the example's own, then others made of them.

    The others are its images again, with the entries of each along an axis in another order, so
    that what a model takes from one image for all of them shows. Inputs in `fixed` have no batch.
    """

    def change(x: Input) -> Input:
        if x.name in fixed or x.value.dim() == 0:
            return x
        images = list(x.value[:size])
        while images and len(images) < size:
            images.append(_another(images, len(images) // x.value.shape[0], len(x.value)))
        return Input(x.name, torch.stack(images) if images else x.value)

    args, kwargs = mapped((example.args, example.kwargs), Input, change)
    return Example(args, kwargs)


def _another(images: list[Tensor], turn: int, own: int) -> Tensor:
    """One of the first `own` images, rolled until it differs from all others where it can.

    Rolling keeps an image's values, and whole rows of it along its first axis: boxes stay boxes,
    and numbers stay within what the example has. It is the same for all inputs of one shape.
    """
    image = images[len(images) % own]
    for axis in range(image.dim()):
        for shift in range(turn, min(image.shape[axis], turn + 4)):
            rolled = image.roll(shift, axis)
            if not any(torch.equal(rolled, other) for other in images):
                return rolled
    return image.clone()


def _plain(tree: Any) -> Any:
    return mapped(tree, Input, lambda x: x.value)
