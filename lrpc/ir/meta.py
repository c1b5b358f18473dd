"""What common operations give on tensors without data, by formula.

torch computes these shapes in Python, many of them through decompositions into dozens or hundreds
of smaller operations. A formula here gives shape, strides and dtype of what torch gives (tests hold
the two against each other), or None for operands that it does not cover; those, and with them all
errors, are left to torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

Formula = Callable[[Sequence[Any], Mapping[str, Any]], Any]


class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode whose operations do not go through torch.compile's switch."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class _Formulas(Mode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return by_formula(func, args, kwargs or {})


def formulas() -> AbstractContextManager[object]:
    """While active, operations on meta tensors give their results by formula where there is one."""
    return _Formulas()  # type: ignore[no-untyped-call]


def by_formula(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result of an operation on meta tensors."""
    formula = FORMULAS.get(func)
    if formula is not None and all(x.is_meta for x in operands(args)):
        result = formula(args, kwargs)
        if result is not None:
            return result
    return func(*args, **kwargs)


def operands(args: Sequence[Any]) -> list[Tensor]:
    """The tensors among operands."""
    return [x for x in args if isinstance(x, Tensor)]


def rows(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a tensor of this shape that lies row by row."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def _dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a tensor fills its memory, whatever the order of its axes, all longer than 1."""
    step = 1
    for stride, extent in sorted(zip(strides, shape, strict=True)):
        if stride != step or extent < 2:
            return False
        step *= extent
    return True


def _broadcast(shapes: Sequence[Sequence[int]]) -> tuple[int, ...] | None:
    rank = max(map(len, shapes))
    whole = [1] * rank
    for shape in shapes:
        for axis, extent in enumerate(shape, rank - len(shape)):
            if extent != 1:
                if whole[axis] not in (1, extent):
                    return None
                whole[axis] = extent
    return tuple(whole)


def _laid_out(tensors: Sequence[Tensor]) -> tuple[Sequence[int], Sequence[int]] | None:
    """Shape and strides of what is computed entry by entry from `tensors`."""
    shape, strides = tensors[0].shape, tensors[0].stride()
    if all(x.shape == shape and x.stride() == strides for x in tensors[1:]):
        return (shape, strides) if strides == rows(shape) or _dense(shape, strides) else None
    if any(x.stride() != rows(x.shape) for x in tensors):
        return None
    whole = _broadcast([x.shape for x in tensors])
    return None if whole is None else (whole, rows(whole))


def _alike(args: Sequence[Any], floating: bool) -> list[Tensor] | None:
    """The tensors among operands, where their type is one and numbers do not change it."""
    tensors = operands(args)
    dtype = tensors[0].dtype
    if any(x.dtype != dtype or x.layout != torch.strided for x in tensors):
        return None
    if dtype.is_floating_point:
        numbers: tuple[type, ...] = (int, float, bool)
    elif floating or dtype == torch.bool or dtype.is_complex:
        return None
    else:
        numbers = (int,)
    plain = all(x is None or isinstance(x, (Tensor, *numbers)) for x in args)
    return tensors if plain else None


def _new(like: Tensor, shape: Sequence[int]) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device="meta")


def _entrywise(floating: bool = True, to: torch.dtype | None = None) -> Formula:
    """Entry by entry, to the type of the operands or `to` another."""

    def formula(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        tensors = _alike(args, floating)
        if not tensors or kwargs.keys() - KEYS:
            return None
        out, dtype = kwargs.get("out"), to or tensors[0].dtype
        if out is not None:
            fits = out.dtype == dtype and out.is_meta
            return out if fits and out.shape == _broadcast([x.shape for x in tensors]) else None
        layout = _laid_out(tensors)
        return torch.empty_strided(*layout, dtype=dtype, device="meta") if layout else None

    return formula


KEYS = frozenset({"out", "value", "approximate"})
"""Keyword arguments that change no type."""


def _over_first(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Entry by entry, over the first operand."""
    tensors = _alike(args, floating=True)
    if not tensors or kwargs.keys() - KEYS:
        return None
    return args[0] if _broadcast([x.shape for x in tensors]) == args[0].shape else None


def _where(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    chosen, tensors = args[0], _alike(args[1:], floating=False)
    layout = tensors and chosen.dtype == torch.bool and _laid_out([chosen, *tensors])
    return torch.empty_strided(*layout, dtype=args[1].dtype, device="meta") if layout else None


def _reduced(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Sums and means over axes."""
    x, axes, keeps = args[0], args[1] if len(args) > 1 else None, len(args) > 2 and args[2]
    if not axes or not x.dtype.is_floating_point or kwargs or x.stride() != rows(x.shape):
        return None
    over = {axis + x.dim() if axis < 0 else axis for axis in axes}
    if len(over) != len(axes) or not all(0 <= axis < x.dim() for axis in over) or 0 in x.shape:
        return None
    shape = [1 if i in over else n for i, n in enumerate(x.shape) if keeps or i not in over]
    return _new(x, shape)


def _add_product(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    tensors = _alike(args, floating=True)
    if not tensors or kwargs or [x.dim() for x in tensors[1:]] != [2, 2]:
        return None
    bias, a, b = tensors
    shape = (a.shape[0], b.shape[1])
    fits = a.shape[1] == b.shape[0] and _broadcast([bias.shape, shape]) == shape
    return _new(a, shape) if fits else None


def _grid_sample(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    image, grid = args[:2]  # torch has checked that they fit
    if image.dim() != 4 or image.dtype != grid.dtype or image.stride() != rows(image.shape):
        return None
    return _new(image, (*image.shape[:2], *grid.shape[1:3]))


def _convolved(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Images and weights that lie row by row, and so does the result."""
    x, weight, bias, stride, padding, dilation, transposed, _, groups = args
    plain = x.dim() == 4 and not transposed
    if not plain or any(t.stride() != rows(t.shape) for t in (x, weight)) or 0 in x.shape:
        return None
    tensors = _alike([x, weight] if bias is None else [x, weight, bias], floating=True)
    if not tensors or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        return None
    if {len(stride), len(padding), len(dilation)} != {2}:
        return None
    each = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in each]
    return _new(x, (x.shape[0], weight.shape[0], *size)) if min(size) > 0 else None


def _batch_norm(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """In use, torch keeps no statistics; its own function gives their shapes all the same."""
    x, training = args[0], args[5]
    if training or not _alike([x for x in args[:5] if x is not None], floating=True):
        return None
    if (layout := _laid_out([x])) is None:
        return None
    out = torch.empty_strided(*layout, dtype=x.dtype, device="meta")
    return out, _new(x, (0,)), _new(x, (0,))


def _layer_norm(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, inner = args[0], args[1]
    if not _alike([*args[:1], *args[2:4]], floating=True) or x.dtype.itemsize < 4:
        return None
    outer = x.shape[: x.dim() - len(inner)]
    if x.shape[len(outer) :] != tuple(inner) or x.stride() != rows(x.shape):
        return None
    shape = (*outer, *(1 for _ in inner))
    return _new(x, x.shape), _new(x, shape), _new(x, shape)


def _group_norm(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, images, channels, rest, groups = *args[:1], *args[3:7]
    if not _alike(args[:3], floating=True) or x.dtype.itemsize < 4:
        return None
    if x.numel() != images * channels * rest or x.stride() != rows(x.shape):
        return None
    return _new(x, x.shape), _new(x, (images, groups)), _new(x, (images, groups))


def _bilinear(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, size = args[:2]
    if x.dim() != 4 or x.stride() != rows(x.shape) or not math.prod(x.shape) or min(size) < 1:
        return None
    return _new(x, (*x.shape[:2], *size)) if x.dtype.is_floating_point else None


def _names(text: str) -> tuple[str, ...]:
    """Overloads of aten; `.default` may be left out."""
    return tuple(text.split())


EXACT = _names("add.Tensor sub.Tensor mul.Tensor rsub.Scalar clamp abs neg relu")
REAL = _names(
    "div.Tensor clamp.Tensor copysign.Tensor maximum minimum addcmul sign sqrt rsqrt exp log sin "
    "cos tanh sigmoid reciprocal erf gelu silu pow.Tensor_Scalar add.out sub.out mul.out div.out"
)
TOLD = _names(
    "ge.Scalar gt.Scalar le.Scalar lt.Scalar eq.Scalar ne.Scalar ge.Tensor gt.Tensor le.Tensor "
    "lt.Tensor eq.Tensor ne.Tensor isinf"
)
OVER_FIRST = _names(
    "add_.Tensor sub_.Tensor mul_.Tensor div_.Tensor clamp_ clamp_.Tensor neg_ relu_ abs_ "
    "sigmoid_ tanh_ exp_ log_ reciprocal_ addcmul_"
)


def _overload(name: str) -> Any:
    name, _, kind = name.partition(".")
    return getattr(getattr(aten, name), kind or "default")


FORMULAS: Mapping[Any, Formula] = {
    **dict.fromkeys(map(_overload, EXACT), _entrywise(floating=False)),
    **dict.fromkeys(map(_overload, REAL), _entrywise()),
    **dict.fromkeys(map(_overload, TOLD), _entrywise(floating=False, to=torch.bool)),
    **dict.fromkeys(map(_overload, OVER_FIRST), _over_first),
    aten.where.self: _where,
    aten.sum.dim_IntList: _reduced,
    aten.mean.dim: _reduced,
    aten.addmm.default: _add_product,
    aten.convolution.default: _convolved,
    aten.grid_sampler_2d.default: _grid_sample,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_group_norm.default: _group_norm,
    aten.upsample_bilinear2d.default: _bilinear,
}
