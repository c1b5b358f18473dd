"""What callers give to a program: tensors, names and switches, checked and named in errors."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lrpc.runtime.loading import ProgramError, check_finite
from lrpc.runtime.sizes import sizes_of

LONGEST = 100  # comparing two names takes the product of their lengths: longer ones are not near


def meant(name: object, known: Iterable[str]) -> str:
    """`; did you mean NAME?` where one of the known names is close, else nothing."""
    if not isinstance(name, str) or len(name) > LONGEST:
        return ""
    near = difflib.get_close_matches(name, [k for k in known if len(k) <= LONGEST], 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def kind_of(value: object) -> str:
    """The type of what was given in its place, for an error."""
    return "None" if value is None else type(value).__name__


def check_switch(name: str, value: object) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise ProgramError(f"{name} takes True or False, got {value!r}")


def whole_number(value: Any) -> int | None:
    """An integer of Python, numpy or torch as one of Python; None for all else, bools included."""
    if isinstance(value, Tensor) and (value.is_meta or value.dim() or not is_integer(value.dtype)):
        return None
    if isinstance(value, bool) or str(getattr(value, "dtype", "")) == "bool":
        return None
    try:
        return int(value.__index__())
    except (AttributeError, TypeError, RuntimeError):
        return None


def is_integer(dtype: torch.dtype) -> bool:
    """Whether it counts; bools do not."""
    return not (dtype.is_floating_point or dtype.is_complex or dtype == torch.bool)


def plain_tensor(name: str, value: Any) -> Tensor:
    """A tensor of numbers in order, without a subclass; refuses everything else."""
    if not isinstance(value, Tensor):
        numpy = "; torch.from_numpy makes one" if hasattr(value, "__array__") else ""
        raise ProgramError(f"{name} must be a torch.Tensor, got {kind_of(value)}{numpy}")
    if value.is_meta or isinstance(value, torch._subclasses.FakeTensor):
        raise ProgramError(f"{name} is on the meta device, without numbers; give one with numbers")
    if value.layout != torch.strided or value.is_nested or value.is_quantized:
        kind = "nested" if value.is_nested else "quantized" if value.is_quantized else "sparse"
        raise ProgramError(f"{name} is a {kind} tensor; give a dense one")
    if torch._C._functorch.is_functorch_wrapped_tensor(value):
        raise ProgramError(f"{name} is inside a transform of torch.func; call programs outside it")
    plain: Tensor = value.detach()
    if type(plain) is not Tensor:
        plain = torch.Tensor.as_subclass(plain, Tensor)
    return plain


def check_input(
    name: str, value: Any, dtype: str, shape: Sequence[int | str], sizes: Collection[str] = ()
) -> Tensor:
    """Refuse another dtype or shape than compiled for, and non-finite values; `sizes` vary."""
    given = plain_tensor(f"input {name}", value)
    wanted = ", ".join(map(str, shape))
    fits = given.dim() == len(shape) and all(
        s == "B" or s in sizes or s == n for s, n in zip(shape, given.shape, strict=True)
    )
    if not fits and any(s in sizes for s in shape):
        raise ProgramError(
            f"input {name} must have shape [{wanted}], got {list(given.shape)}: "
            f"{', '.join(map(str, ('B', *sizes)))} are free"
        )
    if not fits:
        raise ProgramError(
            f"input {name} must have shape [{wanted}], got {list(given.shape)}: this program"
            " holds one size (B is free); resize or pad the image, or compile for that size"
            " (LRPC.SHAPES) or for all (LRPC.DYNAMIC, dynamic=)"
        )
    if str(given.dtype) != dtype:
        raise ProgramError(f"input {name} must be {dtype}, got {given.dtype}")
    if 0 in given.shape:
        raise ProgramError(f"input {name} is an empty batch")
    check_finite(given, f"input {name}", "repair the data")
    return given


def given_inputs(
    known: Mapping[str, tuple[str, tuple[int | str, ...]]],
    images: Sequence[Any],
    named: Mapping[str, Any],
    device: torch.device,
    sizes: Mapping[str, int],
) -> dict[str, Tensor]:
    """What `forward` was given, by name, checked against the inputs it takes."""
    names = list(known)
    takes = f"forward takes {', '.join(names)}"
    if len(images) > len(names):
        raise ProgramError(f"{takes}; got {len(images)} inputs")
    given = dict(zip(names, images, strict=False))
    for name in named:
        if name not in known:
            raise ProgramError(f"{takes}; got {name}{meant(name, names)}")
        if name in given:
            raise ProgramError(f"{takes}; got {name} twice, by its place and by its name")
    given |= named
    if given.keys() != set(names):
        raise ProgramError(f"{takes}; got {', '.join(given) or 'nothing'}")
    checked = {name: check_input(name, given[name], *known[name], sizes) for name in names}
    sizes_of(known, checked, sizes)
    return {name: own_input(value, device) for name, value in checked.items()}


def own_input(value: Tensor, device: torch.device) -> Tensor:
    """An input where the program computes, in the order it was compiled for: strides choose
    kernels, and kernels round differently."""
    value = value.to(device).contiguous()
    return value.clone() if value.is_inference() else value


def batch_of(
    known: Mapping[str, tuple[str, tuple[int | str, ...]]], inputs: Mapping[str, Tensor]
) -> int:
    """The number of images, which all inputs have in common."""
    sizes = {
        name: value.shape[shape.index("B")]
        for name, value in inputs.items()
        if "B" in (shape := known[name][1])
    }
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ProgramError(f"inputs hold different numbers of images: {told}")
    return next(iter(sizes.values()), 1)


@contextlib.contextmanager
def indexing(inputs: Mapping[str, Tensor]) -> Iterator[None]:
    """A model that looks up what an input names, as an embedding does, says where there is none."""
    try:
        yield
    except (IndexError, RuntimeError) as error:
        numbers = [name for name, value in inputs.items() if is_integer(value.dtype)]
        if not numbers or not re.search("index.*out of (range|bounds)", str(error)):
            raise
        raise ProgramError(
            f"input {' or '.join(numbers)} holds an index out of range; the model has no such entry"
        ) from error
