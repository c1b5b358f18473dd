"""New tensors made from traced numbers: they are computed, or the numbers become decisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lrpc.errors import TraceError
from lrpc.frontend.execute import UNSET
from lrpc.frontend.made import OF_SIZES, plain_of_sizes, recorded
from lrpc.frontend.proxy import TracedTensor
from lrpc.frontend.records import found, mapped
from lrpc.frontend.running import stand_in

if TYPE_CHECKING:
    from lrpc.frontend.recording import Recorder

# Calls with sizes, axes or counts; where those are traced, they become numbers.
SIZED = frozenset({
    "view", "reshape", "expand", "broadcast_to", "repeat", "tile", "flatten", "unflatten",
    "squeeze", "unsqueeze", "permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis",
    "split", "split_with_sizes", "chunk", "tensor_split", "vsplit", "hsplit", "dsplit",
    "unbind", "narrow", "select", "flip", "roll", "pad", "unfold", "topk", "cumsum", "softmax",
    "diagonal", "tril", "triu",
    "interpolate", "upsample", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "pixel_shuffle", "pixel_unshuffle", "one_hot",
    "zeros_like", "ones_like", "empty_like", "rand_like", "randn_like",
    "new_zeros", "new_ones", "new_empty", "new_full", "zeros", "ones", "empty", "full", "rand",
    "randn", "randint", "randperm", "arange", "range", "linspace", "logspace", "eye",
    "tril_indices", "triu_indices", "hann_window",
})  # fmt: skip

# Those among them that take no tensor at all: their results are constants.
FROM_NUMBERS = frozenset({
    "zeros", "ones", "empty", "rand", "randn", "randint", "randperm", "arange", "range",
    "linspace", "logspace", "eye", "tril_indices", "triu_indices", "hann_window",
})  # fmt: skip

# Those that take one value for all entries: which argument it is, and its keyword.
FILLED = {
    "full": (1, "fill_value"), "full_like": (1, "fill_value"), "new_full": (2, "fill_value"),
    "scalar_tensor": (0, "s"),
}  # fmt: skip
COPIES = frozenset({"tensor", "as_tensor", "asarray", "new_tensor"})
LENDING = frozenset({"full_like", "new_full"})  # whose first argument lends its dtype and shape


class Factories(TorchFunctionMode):
    """While active, calls that make new tensors from traced ones are followed.

    Torch tells its subclasses of none of them: they would read numbers out of the tensors.
    """

    def __init__(self, tracer: Recorder) -> None:
        self.tracer = tracer

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if self.tracer.written:
            self.tracer.written.follow((args, kwargs))
        if name == "__set__" and type(args[0]) is not TracedTensor and found(args, TracedTensor):
            raise TraceError(
                f"the model writes traced values into a plain tensor's attribute, at "
                f"{self.tracer.where()}; compute a new tensor instead"
            )
        follows = self.tracer.follows_sizes and not self.tracer.runner.busy
        if follows and name in OF_SIZES and plain_of_sizes(func, args, kwargs):
            return self.tracer.called(func, (), args, kwargs)
        if name in FILLED or name in COPIES or name in FROM_NUMBERS:
            traced = found((args, kwargs), TracedTensor)
            if follows:
                made = recorded(self.tracer, func, "call_function", name, args, kwargs)
                if made is not None:
                    return made
            if any(x.tracer is self.tracer for x in traced):
                return _made(self.tracer, func, name, args, kwargs)
        made = func(*args, **kwargs)
        unset = name in UNSET and type(made) is Tensor
        return made.zero_() if unset else made  # so that no two traces differ


def _made(
    tracer: Recorder, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: Any
) -> Any:
    if name in FILLED:
        return _filled(tracer, func, name, list(args), dict(kwargs))
    if name in COPIES:
        return _copied(tracer, func, name, args, dict(kwargs))
    args, kwargs = with_numbers(tracer, name, args, kwargs)
    return func(*args, **kwargs)


def with_numbers(tracer: Recorder, name: str, args: Any, kwargs: Any, keep: int = 0) -> Any:
    """The arguments with traced sizes as numbers, but for the first `keep`."""

    def number(x: TracedTensor) -> Any:
        if tracer.knows(x) and x.value.dim() <= 1:
            return tracer.number("", x)
        if x.value.dtype.is_floating_point or x.value.dtype.is_complex or x.value.dim() > 1:
            raise TraceError(
                f"{name} takes a size or bound from the values of a traced tensor, at "
                f"{tracer.where()}; scale a tensor of fixed size instead"
            )
        return tracer.number("int" if x.value.dim() == 0 else "tolist", x)

    lent = {k: x for k, x in kwargs.items() if k in ("input", "self")}
    rest = {k: x for k, x in kwargs.items() if k not in lent}
    sizes, rest = mapped((tuple(args[keep:]), rest), TracedTensor, number)
    return (*args[:keep], *sizes), {**lent, **rest}


def _filled(
    tracer: Recorder, func: Callable[..., Any], name: str, args: list[Any], kwargs: Any
) -> Any:
    """A traced number, spread over the shape of the result."""
    at, key = FILLED[name]
    fill = kwargs[key] if key in kwargs else args[at]
    if isinstance(fill, TracedTensor):
        if key in kwargs:
            kwargs[key] = _kind_of(fill)
        else:
            args[at] = _kind_of(fill)
    given = with_numbers(tracer, name, args, kwargs, 1 if name in LENDING else 0)
    like = tracer.quiet(func, *mapped(given, TracedTensor, lambda x: stand_in(x.value)))
    if not isinstance(fill, TracedTensor):
        return like
    return fill.to(like.dtype).expand(like.shape).clone()


def _copied(
    tracer: Recorder, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: Any
) -> Any:
    """What torch.tensor and its like make of traced tensors, alone or as numbers in lists."""
    at = 1 if name == "new_tensor" else 0
    key = next((k for k in ("data", "obj") if k in kwargs), None)
    data = args[at] if key is None else kwargs.pop(key)
    sample = mapped([data], TracedTensor, lambda x: torch.zeros((), dtype=x.value.dtype))
    lent = mapped(args[:at], TracedTensor, lambda x: stand_in(x.value))
    copy = kwargs.pop("copy", None)
    dtype = tracer.quiet(func, (*lent, sample, *args[at + 1 :]), kwargs).dtype
    if name in ("as_tensor", "asarray") and isinstance(data, TracedTensor):
        return data.to(dtype, copy=bool(copy))
    return _stacked(data, dtype).detach().clone()


def _stacked(data: Any, dtype: torch.dtype, inner: bool = False) -> Tensor:
    if isinstance(data, TracedTensor):
        return data.to(dtype).reshape(()) if inner else data.to(dtype)
    if isinstance(data, (tuple, list)) and found(data, TracedTensor):
        return torch.stack([_stacked(part, dtype, True) for part in data])
    return torch.tensor(data, dtype=dtype)


def _kind_of(x: TracedTensor) -> Any:
    """A number of the same kind: bool, int, float or complex."""
    if x.value.dtype == torch.bool:
        return False
    if x.value.dtype.is_complex:
        return 0j
    return 0.0 if x.value.dtype.is_floating_point else 0
