"""Rows that reduce axes: sums, means, extremes, norms."""

from __future__ import annotations

import math
from typing import Any

import torch

from lrpc.frontend.lowering import elementwise, layers, numbers
from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.missing import OfEachImage
from lrpc.ir.extents import Extent
from lrpc.ir.graph import Value
from lrpc.ir.types import Sym

ACROSS = "reduces over the batch axis, so that images would not be independent"


def _reduce(
    c: Context, op: str, x: Operand, dim: Operand, keepdim: bool, dtype: str | None = None
) -> Operand:
    value = c.value(x if dtype is None else c.cast(x, dtype))
    dims = c.axes(dim, value.type.rank)
    for d in dims:
        if isinstance(value.type.shape[d], Sym):
            c.refuse(ACROSS)
    return c.op(op, value, dims=dims, keepdim=keepdim) if dims else value


def _over(op: str, cast: bool = False) -> Any:
    """A reduction, of `cast` operands in the dtype of its result."""

    def row(
        c: Context, x: Operand, dim: Operand = None, keepdim: bool = False, *, dtype: Operand = None
    ) -> Operand:
        return _reduce(c, op, x, dim, keepdim, c.result.dtype if cast else None)

    return row


def variance(
    c: Context, x: Operand, dim: Operand = None, unbiased: bool = True, keepdim: bool = False,
    *, correction: float | None = None,
) -> Operand:  # fmt: skip
    """`var(x, unbiased)` and `var(x, dim, unbiased, keepdim)`, with `correction` for both."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    value = c.value(x)
    less = float(unbiased) if correction is None else correction
    count = math.prod(c.size(value, d) for d in c.axes(dim, value.type.rank))
    if count <= less:
        c.refuse(f"is of {count} entries less {less:g}, which is no number")
    centred = c.op("sub", value, _reduce(c, "mean", value, dim, keepdim=True))
    mean_square = _reduce(c, "mean", c.op("pow", centred, exponent=2), dim, keepdim)
    return c.op("scale", mean_square, by=count / (count - less)) if less else mean_square


def deviation(c: Context, *args: Operand, **kwargs: Operand) -> Operand:
    return c.op("sqrt", variance(c, *args, **kwargs))


def variance_and_mean(
    c: Context, x: Operand, dim: Operand = None, unbiased: bool = True, keepdim: bool = False,
    *, correction: float | None = None,
) -> Operand:  # fmt: skip
    over = None if isinstance(dim, bool) else dim
    spread = variance(c, x, dim, unbiased, keepdim, correction=correction)
    return spread, _reduce(c, "mean", x, over, keepdim)


def _extreme(op: str, of_two: str) -> Any:
    """`max` or `min` over everything, along one axis (values and indices), or of two tensors."""

    def row(c: Context, x: Operand, dim: Operand = None, keepdim: bool = False) -> Operand:
        if dim is None:
            value = c.value(x)
            if any(isinstance(d, Sym) for d in value.type.shape):
                return _of_each_image(c, op, value)
            return _reduce(c, op, value, None, False)
        if not isinstance(dim, int):
            return elementwise.ROWS[of_two](c, x, dim)
        return _reduce(c, op, x, dim, keepdim), _first_extreme(c, op, x, dim, keepdim)

    return row


def _of_each_image(c: Context, op: str, value: Value) -> OfEachImage:
    """The extreme over all images, and that of each image alone."""
    first, *rest = value.type.shape
    reason = f"{c.call.name} {ACROSS}"
    if not isinstance(first, Sym) or first.batch != 1 or any(isinstance(d, Sym) for d in rest):
        c.refuse(ACROSS)
    apart = c.reshape(value, (Sym(batch=1), first.coeff, *rest))
    most = c.op(op, apart, dims=tuple(range(1, apart.type.rank)), keepdim=True)
    wide = c.expand(most, (Sym(batch=1), first.coeff, *(1,) * len(rest)))
    each = c.reshape(wide, (first, *(1,) * len(rest)))
    return OfEachImage(reason, of=value, each=each)


def _place_of_extreme(op: str) -> Any:
    def row(c: Context, x: Operand, dim: int | None = None, keepdim: bool = False) -> Operand:
        return _first_extreme(c, op, x, dim, keepdim)

    return row


def _first_extreme(c: Context, op: str, x: Operand, dim: int | None, keepdim: bool) -> Operand:
    """The smallest index at which `x` has its extreme along an axis: of equals the first, as in
    torch, where a top-k leaves open which."""
    if dim is None:
        c.refuse(
            "searches the flattened tensor",
            "give dim, after flatten(1) where all of an image is meant",
        )
    value = c.value(x)
    axis = c.axis(dim, value.type.rank)
    size = c.size(value, axis)
    found = c.op("compare", value, c.op(op, value, dims=(axis,), keepdim=True), kind="eq")
    places = numbers.counting(c, size, -1 - axis)
    last = size - 1 if isinstance(size, Extent) else c.constant(torch.tensor(size - 1))
    index = c.op("where", found, places, last)
    return c.op("amin", index, dims=(axis,), keepdim=keepdim)


def product(
    c: Context, x: Operand, dim: Operand = None, keepdim: bool = False, *, dtype: Operand = None
) -> Operand:
    """The product of the entries along an axis, or of all: of both halves, and so on."""
    value = c.value(c.cast(x, c.result.dtype))
    if dim is None:
        value = c.reshape(value, (math.prod(c.size(value, d) for d in range(value.type.rank)),))
    axis = c.axis(dim or 0, value.type.rank)
    while (size := c.counted(value, axis)) > 1:
        half = size // 2
        pair = c.slice(value, axis, 0, half), c.slice(value, axis, half, 2 * half)
        found = c.op("mul", *pair)
        odd = [c.slice(value, axis, size - 1, size)] if size % 2 else []
        value = c.op("cat", found, *odd, dim=axis) if odd else found
    return c.reshape(value, c.result.shape)


def cumprod(c: Context, x: Operand, dim: int, *, dtype: Operand = None) -> Operand:
    """Products of the entries so far: of 1, 2, 4, … of them."""
    value = c.value(c.cast(x, c.result.dtype))
    axis = c.axis(dim, value.type.rank)
    size, step = c.counted(value, axis), 1
    while step < size:
        pair = c.slice(value, axis, step, size), c.slice(value, axis, 0, size - step)
        later = c.op("mul", *pair)
        value = c.op("cat", c.slice(value, axis, 0, step), later, dim=axis)
        step *= 2
    return value


def cumsum(c: Context, x: Operand, dim: int, *, dtype: Operand = None) -> Operand:
    value = c.value(c.cast(x, c.result.dtype))
    axis = c.axis(dim, value.type.rank)
    c.size(value, axis)
    return c.op("cumsum", value, dim=axis)


def norm(
    c: Context, x: Operand, p: Operand = 2, dim: Operand = None, keepdim: bool = False,
    out: None = None, dtype: Operand = None,
) -> Operand:  # fmt: skip
    """The norm of vectors, of any order; of matrices that of Frobenius."""
    value = c.value(c.cast(x, c.result.dtype))
    if p in (2, 2.0, "fro", None):
        squares = c.op("pow", value, exponent=2)
        return c.op("sqrt", _reduce(c, "sum", squares, dim, keepdim))
    if isinstance(p, str):
        c.refuse(f"is the norm {p!r} of a matrix, which has no rule yet")
    if p == 0:
        some = c.op("compare_scalar", value, kind="ne", value=0)
        return _reduce(c, "sum", c.op("cast", some, dtype=value.type.dtype), dim, keepdim)
    size = c.op("abs", value)
    if math.isinf(p):
        return _reduce(c, "amax" if p > 0 else "amin", size, dim, keepdim)
    powers = size if p == 1 else c.op("pow", size, exponent=p)
    total = _reduce(c, "sum", powers, dim, keepdim)
    return total if p == 1 else c.op("pow", total, exponent=1 / p)


def vector_norm(
    c: Context, x: Operand, ord: Operand = 2, dim: Operand = None, keepdim: bool = False, *,
    dtype: Operand = None,
) -> Operand:  # fmt: skip
    return norm(c, x, ord, dim, keepdim)


def matrix_norm(
    c: Context, x: Operand, ord: Operand = "fro", dim: Operand = (-2, -1),
    keepdim: bool = False, *, dtype: Operand = None,
) -> Operand:  # fmt: skip
    if ord != "fro":
        c.refuse(f"is the norm {ord!r} of a matrix, which has no rule yet")
    return norm(c, x, 2, dim, keepdim)


def linalg_norm(
    c: Context, x: Operand, ord: Operand = None, dim: Operand = None, keepdim: bool = False, *,
    dtype: Operand = None,
) -> Operand:  # fmt: skip
    """Of one axis the norm of a vector, of two that of a matrix."""
    axes = c.type(x).rank if dim is None else len(c.axes(dim, c.type(x).rank))
    if ord is None or axes == 1:
        return norm(c, x, 2 if ord is None else ord, dim, keepdim)
    return matrix_norm(c, x, ord, dim, keepdim)


def logsumexp(c: Context, x: Operand, dim: Operand, keepdim: bool = False) -> Operand:
    """The largest entry, and log Σ exp(x − the largest)."""
    value = c.value(c.cast(x, c.result.dtype))
    most = c.op("detach", _reduce(c, "amax", value, dim, keepdim=True))
    risen = c.op("exp", c.op("sub", value, most))
    total = c.op("log", _reduce(c, "sum", risen, dim, keepdim=True))
    return c.reshape(c.op("add", most, total), c.result.shape)


def log_softmax(
    c: Context, x: Operand, dim: int | None = None, _stacklevel: int = 3, dtype: Operand = None
) -> Operand:
    if dim is None:
        c.refuse("names no axis", "give dim")
    value = c.value(c.cast(x, c.result.dtype))
    most = c.op("detach", _reduce(c, "amax", value, dim, keepdim=True))
    shifted = c.op("sub", value, most)
    total = _reduce(c, "sum", c.op("exp", shifted), dim, keepdim=True)
    return c.op("sub", shifted, c.op("log", total))


def softmin(
    c: Context, x: Operand, dim: int | None = None, _stacklevel: int = 3, dtype: Operand = None
) -> Operand:
    return layers.softmax(c, c.op("scale", x, by=-1.0), dim)


def nansum(
    c: Context, x: Operand, dim: Operand = None, keepdim: bool = False, *, dtype: Operand = None
) -> Operand:
    value = c.value(c.cast(x, c.result.dtype))
    filled = c.op("masked_fill", value, c.op("compare", value, value, kind="ne"), value=0.0)
    return _reduce(c, "sum", filled, dim, keepdim)


def count_nonzero(c: Context, x: Operand, dim: Operand = None) -> Operand:
    some = c.op("compare_scalar", x, kind="ne", value=0)
    return _reduce(c, "sum", c.op("cast", some, dtype="i64"), dim, keepdim=False)


def normalize(
    c: Context, x: Operand, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None
) -> Operand:
    return c.op("div", x, c.op("clamp", norm(c, x, p, dim, keepdim=True), min=eps))


ROWS: dict[str, Any] = {
    "sum": _over("sum", cast=True), "mean": _over("mean", cast=True),
    "var": variance, "std": deviation, "var_mean": variance_and_mean,
    "amax": _over("amax"), "amin": _over("amin"), "any": _over("any"), "all": _over("all"),
    "max": _extreme("amax", "maximum"), "min": _extreme("amin", "minimum"),
    "argmax": _place_of_extreme("amax"), "argmin": _place_of_extreme("amin"),
    "prod": product, "cumsum": cumsum, "cumprod": cumprod, "norm": norm,
    "normalize": normalize, "linalg_vector_norm": vector_norm, "linalg_norm": linalg_norm,
    "linalg_matrix_norm": matrix_norm, "logsumexp": logsumexp, "special_logsumexp": logsumexp,
    "log_softmax": log_softmax, "special_log_softmax": log_softmax, "softmin": softmin,
    "count_nonzero": count_nonzero, "nansum": nansum,
}  # fmt: skip
