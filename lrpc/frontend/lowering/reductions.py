"""Rows that reduce axes: sums, means, extremes, norms."""

from __future__ import annotations

import math
from typing import Any

import torch

from lrpc.frontend.lowering import elementwise, numbers
from lrpc.frontend.lowering.context import Context, Operand
from lrpc.ir.extents import Extent
from lrpc.ir.types import Sym

FACTORS = 16


def _reduce(
    c: Context, op: str, x: Operand, dim: Operand, keepdim: bool, dtype: str | None = None
) -> Operand:
    value = c.value(x if dtype is None else c.cast(x, dtype))
    dims = c.axes(dim, value.type.rank)
    for d in dims:
        if isinstance(value.type.shape[d], Sym):
            c.refuse("reduces over the batch axis, so that images would not be independent")
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
            return _reduce(c, op, x, None, False)
        if not isinstance(dim, int):
            return elementwise.ROWS[of_two](c, x, dim)
        return _reduce(c, op, x, dim, keepdim), _first_extreme(c, op, x, dim, keepdim)

    return row


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
    """The product of few entries, one after the other."""
    value = c.value(c.cast(x, c.result.dtype))
    if not isinstance(dim, int) or c.counted(value, dim) > FACTORS:
        c.refuse(f"is of no axis, or of more than {FACTORS} entries", "write it with log and sum")
    axis = c.axis(dim, value.type.rank)
    found = c.slice(value, axis, 0, 1)
    for i in range(1, c.size(value, axis)):
        found = c.op("mul", found, c.slice(value, axis, i, i + 1))
    return c.reshape(found, c.result.shape)


def cumsum(c: Context, x: Operand, dim: int, *, dtype: Operand = None) -> Operand:
    value = c.value(c.cast(x, c.result.dtype))
    axis = c.axis(dim, value.type.rank)
    c.size(value, axis)
    return c.op("cumsum", value, dim=axis)


def norm(
    c: Context, x: Operand, p: Operand = 2, dim: Operand = None, keepdim: bool = False,
    out: None = None, dtype: Operand = None,
) -> Operand:  # fmt: skip
    if p not in (2, 2.0, "fro", None):
        c.refuse(f"is a norm of order {p}", "write it with abs, pow and sum")
    squares = c.op("pow", c.cast(x, c.result.dtype), exponent=2)
    return c.op("sqrt", _reduce(c, "sum", squares, dim, keepdim))


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
    "prod": product, "cumsum": cumsum, "norm": norm, "normalize": normalize,
}  # fmt: skip
