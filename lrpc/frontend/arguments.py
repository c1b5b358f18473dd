"""What a user gives to be compiled, a model and an example call of it: checked and named."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from lrpc.errors import ConfigError, TraceError
from lrpc.frontend import NO_GRAD, Imported, import_model
from lrpc.frontend.calls import ModelCall
from lrpc.frontend.capture import Example, named_arguments
from lrpc.frontend.records import Input, found
from lrpc.frontend.sizes import Dynamic, varying
from lrpc.support.untrusted import meant

Arguments = Sequence[Any] | Mapping[str, Any]


def import_call(
    model: nn.Module,
    args: Arguments,
    kwargs: Mapping[str, Any] | None = None,
    *,
    scope: str = "",
    places: Mapping[str, str] | None = None,
    unbatched: Collection[str] = (),
    no_grad: str = "detach",
    held: bool = False,
    dynamic: Dynamic | None = None,
) -> tuple[Imported, ModelCall, tuple[str, ...]]:
    """`import_model` on `model(*args, **kwargs)`, that call itself, and a note on each plain
    argument, which a program holds fixed.

    `args` may be a mapping by name. Tensors in tuples, lists and dicts become inputs, too, named by
    the path to each. ConfigError where the model cannot be compiled as it is, where the call does
    not fit its signature and where inputs have no common batch; TraceError.
    """
    if no_grad not in NO_GRAD:
        raise ConfigError(f"no_grad={no_grad!r}: choose among {', '.join(NO_GRAD)}")
    check_model(model)
    bound = bound_call(model, args, {} if kwargs is None else kwargs)
    example = named_arguments(bound)
    _check_inputs(type(model).__name__, found((example.args, example.kwargs), Input), unbatched)
    try:
        imported = import_model(
            model,
            example,
            scope=scope,
            places=places,
            unbatched=unbatched,
            no_grad=no_grad,
            held=held,
            dynamic=dynamic,
        )
    except TraceError as error:
        reason = _mixed_dtypes(model, example)
        if not reason:
            raise
        raise TraceError(f"{error}; {reason}") from error
    sizes = varying(example, dynamic or {})
    call = ModelCall(model, example, scope, frozenset(unbatched), no_grad == "ignore", sizes)
    return imported, call, _fixed(bound)


def example_tensors(
    model: nn.Module, args: Arguments, kwargs: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The tensors of the call by the names of the inputs that they become."""
    example = named_arguments(bound_call(model, args, kwargs))
    return {x.name: x.value for x in found((example.args, example.kwargs), Input)}


def bound_call(
    model: nn.Module, args: Arguments, kwargs: Mapping[str, Any]
) -> inspect.BoundArguments:
    """The arguments by the names of the forward signature; ConfigError where they do not fit."""
    positional, named = _sorted_out(args, kwargs)
    signature = inspect.signature(model.forward)
    try:
        bound = signature.bind(*positional, **named)
    except TypeError as error:
        takes = ", ".join(signature.parameters)
        kind = type(model).__name__
        raise ConfigError(f"{kind}.forward({takes}): {error}; correct the example") from None
    for name, value in bound.arguments.items():
        _check_value(name, value)
        bound.arguments[name] = tree_map_only(Tensor, _counting, value)
    return bound


def _counting(value: Tensor) -> Tensor:
    """The tensor, or a copy where it does not count what is written to it."""
    return value.clone() if value.is_inference() else value


def _fixed(bound: inspect.BoundArguments) -> tuple[str, ...]:
    given: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        flat = bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        given |= value if flat else {name: value}
    plain = {k: v for k, v in given.items() if isinstance(v, (bool, int, float, str))}
    return tuple(f"fixed: {name} = {value!r}" for name, value in plain.items())


def _mixed_dtypes(model: nn.Module, example: Example) -> str:
    """What there is to say where no weight has the dtype of a floating input; else ""."""
    weights = {p.dtype for p in model.parameters() if p.is_floating_point()}
    for x in found((example.args, example.kwargs), Input):
        if x.value.is_floating_point() and weights and x.value.dtype not in weights:
            has = ", ".join(sorted(str(d).removeprefix("torch.") for d in weights))
            mine = str(x.value.dtype).removeprefix("torch.")
            return f"input {x.name!r} is {mine}, the weights are {has}: convert one of them"
    return ""


# The model.


def check_model(model: object) -> None:
    """ConfigError with the remedy where `model` is not a module ready for evaluation on the CPU."""
    kind = type(model).__name__
    if not isinstance(model, nn.Module):
        raise ConfigError(f"a model is a torch.nn.Module, got {kind}; wrap it in one")
    if isinstance(model, torch.jit.ScriptModule):
        raise ConfigError(
            f"{kind} is a ScriptModule, whose code cannot be traced; give the module it was made of"
        )
    if isinstance(getattr(model, "_orig_mod", None), nn.Module):
        raise ConfigError(f"{kind} comes from torch.compile; give the module in it, _orig_mod")
    if getattr(type(model), "forward", None) is nn.Module.forward and "forward" not in vars(model):
        raise ConfigError(f"{kind} has no forward; give the module that computes")
    for path, module in model.named_modules():
        if module.training and (active := _active(module)):
            raise ConfigError(
                f"{kind} is in training mode: {path or kind} ({type(module).__name__}) {active}; "
                "call model.eval() first"
            )
    _check_weights(model)


def _active(module: nn.Module) -> str:
    """What `module` does in training and not in evaluation; "" for nothing."""
    if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:
        return "uses the statistics of the batch"
    rates = (getattr(module, name, 0) for name in ("p", "dropout", "drop_prob"))
    drops = any(isinstance(rate, (int, float)) and rate > 0 for rate in rates)
    if isinstance(module, nn.RReLU) or drops:
        return "draws random numbers"
    return ""


def _check_weights(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise ConfigError(f"{name} has no shape yet; run the model once before")
        if tensor.is_inference():
            raise ConfigError(f"{name} was made in inference mode; build the model outside it")
        if tensor.device.type != "cpu":
            raise ConfigError(
                f"{name} is on {tensor.device}: models are compiled on the CPU; move it there, and "
                "name the program's device with device=..."
            )


# The arguments.


def _sorted_out(args: Arguments, kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    if not isinstance(kwargs, Mapping):
        raise ConfigError(
            f'kwargs is a {type(kwargs).__name__}; give arguments by name, as in {{"x": x}}'
        )
    if isinstance(args, Mapping):
        both = sorted(set(args) & set(kwargs))
        if both:
            raise ConfigError(f"argument {both[0]!r} is given twice, in args and in kwargs")
        return [], {**args, **kwargs}
    if not isinstance(args, (tuple, list)):
        kind = "None" if args is None else f"a {type(args).__name__}"
        raise ConfigError(
            f'args is {kind}; give the example inputs as a tuple, (x,), or by name, {{"x": x}}'
        )
    return list(args), dict(kwargs)


def _check_value(name: str, value: Any) -> None:
    """Refuse what has tensors in it that would silently become constants."""
    if isinstance(value, (tuple, list)):
        for part in value:
            _check_value(name, part)
        return
    if type(value) is dict:
        for part in value.values():
            _check_value(name, part)
        return
    hidden = [v for v in getattr(value, "__dict__", {}).values() if isinstance(v, Tensor)]
    if not isinstance(value, Tensor) and (hidden or isinstance(value, Mapping)):
        what = "dataclass" if is_dataclass(value) else type(value).__name__
        raise ConfigError(
            f"argument {name!r} is a {what}; tensors in tuples, lists and dicts become inputs"
        )


def _check_inputs(kind: str, inputs: Sequence[Input], unbatched: Collection[str]) -> None:
    if not inputs:
        raise ConfigError(f"no tensor among the example arguments of {kind}; give its inputs")
    names = [x.name for x in inputs]
    for name in unbatched:
        if name not in names:
            raise ConfigError(
                f"unbatched: no input is called {name!r}{meant(name, names, quoted=True)};"
                f" there are {', '.join(names)}"
            )
    for x in inputs:
        if x.value.device.type != "cpu":
            raise ConfigError(
                f"input {x.name!r} is on {x.value.device}: models are compiled on the CPU; move it "
                "there, and name the program's device with device=..."
            )
        if x.value.layout != torch.strided or x.value.is_nested or x.value.is_quantized:
            raise ConfigError(f"input {x.name!r} is no dense tensor; give it with to_dense()")
        if 0 in x.value.shape[1:]:
            raise ConfigError(
                f"input {x.name!r} has no entries, {list(x.value.shape)}; give an example with some"
            )
        if x.value.is_floating_point() and bool(x.value.isnan().any()):
            raise ConfigError(f"input {x.name!r} holds NaN; give an example that the model can use")
    _check_batch([x for x in inputs if x.name not in unbatched and x.value.dim()])


def _check_batch(inputs: Sequence[Input]) -> None:
    if not inputs:
        raise ConfigError("no input has a batch axis; put the images along the first axis")
    first = inputs[0]
    for x in inputs:
        if x.value.shape[0] == 0:
            raise ConfigError(f"input {x.name!r} is an empty batch; give at least one image")
        if x.value.shape[0] != first.value.shape[0]:
            raise ConfigError(
                f"input {x.name!r} has {x.value.shape[0]} entries along its first axis, "
                f"{first.name!r} has {first.value.shape[0]}: the batch comes first in every input; "
                f"name those that have none in unbatched=[{x.name!r}]"
            )
