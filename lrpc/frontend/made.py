"""Tensors that a model makes from numbers alone: where sizes vary, they are recorded, for they may
depend on the sizes; those that turn out not to are constants again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lrpc.frontend.execute import FACTORIES, execute
from lrpc.frontend.gradients import values_only
from lrpc.frontend.proxy import TracedTensor
from lrpc.frontend.ratios import Ratio
from lrpc.frontend.records import Call, Ref, Stored, found, mapped
from lrpc.frontend.running import stand_in
from lrpc.ir.extents import Extent
from lrpc.ir.types import Sym, TensorType, type_of

if TYPE_CHECKING:
    from lrpc.frontend.recording import Recorder

FILLS = {
    "zeros": 0, "zeros_like": 0, "new_zeros": 0, "ones": 1, "ones_like": 1, "new_ones": 1,
    "empty": 0, "empty_like": 0, "new_empty": 0,
}  # fmt: skip
GIVEN = {"full": (1, "fill_value"), "full_like": (1, "fill_value"), "new_full": (2, "fill_value")}
COUNTS = frozenset({"arange", "linspace"})
LISTS = frozenset({"tensor", "as_tensor", "new_tensor"})

# Calls that give parts or copies of a weight, as many as their numbers say.
OF_SIZES = frozenset({
    "__getitem__", "narrow", "expand", "broadcast_to", "repeat", "tile", "interpolate", "upsample",
    "tril", "triu", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "pad",
})  # fmt: skip


def plain_of_sizes(func: Any, args: tuple[Any, ...], kwargs: Any) -> bool:
    """Whether a call on plain tensors alone has numbers among its arguments, which may depend on
    the sizes of the inputs: of an index those that bound slices."""
    if found((args, kwargs), TracedTensor) or not any(isinstance(x, Tensor) for x in args[:1]):
        return False
    if func is Tensor.__getitem__:
        picks = args[1] if isinstance(args[1], tuple) else (args[1],)
        return any(
            type(x) is int for pick in picks for x in found(pick, object) if isinstance(pick, slice)
        )
    return True


def recorded(
    tracer: Recorder, func: Any, kind: str, name: str, args: tuple[Any, ...], kwargs: Any
) -> Any:
    """The traced tensor of a call that makes one from numbers; None where it is no such call."""
    at, key = GIVEN.get(name, (0, ""))
    if name in FILLS:
        fill: Any = FILLS[name]
    elif name in GIVEN:
        fill = kwargs[key] if key in kwargs else args[at]
    elif name not in COUNTS and name not in LISTS:
        return None
    traced = found((args, kwargs), TracedTensor)
    if name in (COUNTS | FILLS.keys()) - FACTORIES and all(map(tracer.knows, traced)):
        args, kwargs = mapped((args, kwargs), TracedTensor, lambda x: tracer.number("", x))
    elif name not in FACTORIES | {"new_tensor"} and traced:
        return None
    plain = mapped((args, kwargs), TracedTensor, lambda x: stand_in(x.value))
    with values_only():
        made = tracer.runner.of_numbers(execute, (kind, func, tracer.root, *plain), {})
    if not isinstance(made, Tensor) or made.layout is not torch.strided or made.is_complex():
        return made
    if name in FILLS or name in GIVEN:
        if not isinstance(fill, bool | int | float):
            return None
        return _node(tracer, torch.full, ([*made.shape], fill), made.dtype)
    if name in LISTS:
        data = args[1 if name == "new_tensor" else 0] if args else kwargs.get("data")
        if not isinstance(data, list | tuple | int) or found(data, Tensor):
            return made
        return _node(tracer, torch.tensor, (data,), made.dtype)
    if name == "linspace":
        given = {"start", "end", "steps"} & kwargs.keys()
        ends = (*args[:3], *(kwargs[k] for k in ("start", "end", "steps") if k in given))
        return _node(tracer, torch.linspace, ends, made.dtype)
    ends = args[:3] or tuple(kwargs[k] for k in ("start", "end", "step") if k in kwargs)
    start, step = (0, 1) if len(ends) == 1 else (ends[0], (*ends, 1)[2])
    return _node(tracer, torch.arange, (start, start + step * len(made), step), made.dtype)


def _node(tracer: Recorder, function: Callable[..., Any], args: Any, dtype: torch.dtype) -> Any:
    with values_only():
        value = tracer.runner.of_numbers(function, args, {"dtype": dtype})
    node = tracer.create_node("call_function", function, args, {"dtype": dtype})
    result = tracer.made(node, value, [])
    result.of_sizes = True
    return result


def without_constants(calls: Sequence[Call]) -> tuple[Call, ...]:
    """The calls with those on constants alone, whose numbers are the same at all sizes, as
    constants."""
    written = _written(calls)
    found_so_far: dict[int, Stored] = {}
    kept: list[Call] = []
    for call in calls:
        if call.kind == "get_attr":
            if isinstance(call.target, Stored) and not call.target.varies:
                found_so_far[call.index] = call.target
        elif call.kind in ("call_function", "call_method") and call.index not in written:
            stored = _stored(call, found_so_far)
            if stored is not None:
                found_so_far[call.index] = stored
                call = replace(call, kind="get_attr", target=stored, args=(), kwargs={})
        kept.append(call)
    return tuple(kept)


def _written(calls: Sequence[Call]) -> set[int]:
    """The calls whose memory a later one writes into, or that see such memory."""
    root: dict[int, int] = {}
    for call in calls:
        root[call.index] = root[call.view_of] if call.view_of is not None else call.index
    changed = {root[call.writes] for call in calls if call.writes is not None}
    changed |= {root[call.index] for call in calls if call.writes is not None}
    return {index for index, own in root.items() if own in changed}


def _stored(call: Call, known: dict[int, Stored]) -> Stored | None:
    refs = found((call.args, call.kwargs), Ref)
    numbers = found((call.args, call.kwargs), object)
    if not isinstance(call.type, TensorType) or any(ref.index not in known for ref in refs):
        return None
    if any(isinstance(x, Sym | Extent | Ratio) for x in (*numbers, *call.type.shape)):
        return None
    args, kwargs = mapped((call.args, call.kwargs), Ref, lambda ref: known[ref.index].tensor)
    with values_only():
        result = execute(call.kind, call.target, torch.nn.Module(), _lists(args), kwargs)
    if not isinstance(result, Tensor) or type_of(result) != call.type:
        return None
    return Stored("", result.clone(), call.type)


def _lists(args: Any) -> Any:
    """Tuples of arguments as torch takes them: those of tensors as lists."""
    return tuple([*x] if isinstance(x, tuple) and found(x, Tensor) else x for x in args)
