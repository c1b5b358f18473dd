"""Rows for elementwise functions that are written with others, and for whole numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from lrpc.frontend.lowering import numbers
from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.elementwise import ROWS as ELEMENTWISE
from lrpc.frontend.lowering.elementwise import add, div, mul, scale, sub, swapped, unary
from lrpc.frontend.records import ImageNumbers
from lrpc.ir.graph import Value

Row = Callable[..., Operand]


def _wide(c: Context, x: Operand) -> Operand:
    return c.cast(x, c.result.dtype)


def expm1(c: Context, x: Operand) -> Operand:
    return c.op("shift", c.op("exp", _wide(c, x)), by=-1.0)


def exp2(c: Context, x: Operand) -> Operand:
    return c.op("exp", c.op("scale", _wide(c, x), by=math.log(2)))


def _log_of_base(base: float) -> Row:
    def row(c: Context, x: Operand) -> Operand:
        return c.op("scale", c.op("log", _wide(c, x)), by=1 / math.log(base))

    return row


def tan(c: Context, x: Operand) -> Operand:
    value = _wide(c, x)
    sine, cosine = c.op("sin", value), c.op("cos", value)
    return c.op("div", sine, cosine)


def _hyperbolic(sign: float) -> Row:
    """(eˣ ± e⁻ˣ) / 2."""

    def row(c: Context, x: Operand) -> Operand:
        value = _wide(c, x)
        ends = (c.op("exp", c.op("scale", value, by=s)) for s in (1.0, -1.0))
        half = [c.op("scale", end, by=by) for end, by in zip(ends, (0.5, 0.5 * sign), strict=True)]
        return c.op("add", *half)

    return row


def erfc(c: Context, x: Operand) -> Operand:
    return _one_less(c, c.op("erf", _wide(c, x)))


def _one_less(c: Context, x: Value) -> Value:
    """1 − x."""
    return c.op("shift", c.op("scale", x, by=-1.0), by=1.0)


def softsign(c: Context, x: Operand) -> Operand:
    size = c.op("abs", x)
    return c.op("div", x, c.op("shift", size, by=1.0))


def tanhshrink(c: Context, x: Operand) -> Operand:
    return c.op("sub", x, c.op("tanh", x))


def hardshrink(c: Context, x: Operand, lambd: float = 0.5) -> Operand:
    small = c.op("compare_scalar", c.op("abs", x), kind="le", value=lambd)
    return c.op("masked_fill", x, small, value=0.0)


def logit(c: Context, x: Operand, eps: float | None = None) -> Operand:
    value = c.value(x) if eps is None else c.op("clamp", x, min=eps, max=1 - eps)
    return c.op("log", c.op("div", value, _one_less(c, value)))


def logaddexp(c: Context, x: Operand, y: Operand) -> Operand:
    """The larger, and log(1 + exp(−|x − y|))."""
    apart = c.op("scale", c.op("abs", sub(c, x, y)), by=-1.0)
    more = c.op("log1p", c.op("exp", apart))
    return c.op("add", ELEMENTWISE["maximum"](c, x, y), more)


def hypot(c: Context, x: Operand, y: Operand) -> Operand:
    squares = (c.op("pow", _wide(c, v), exponent=2) for v in (x, y))
    return c.op("sqrt", c.op("add", *squares))


def addcdiv(c: Context, x: Operand, y: Operand, z: Operand, *, value: float = 1) -> Operand:
    return add(c, x, scale(c, div(c, y, z), value))


def heaviside(c: Context, x: Operand, values: Operand) -> Operand:
    """0 below 0, 1 above, and `values` at 0."""
    above = c.op("cast", c.op("compare_scalar", x, kind="gt", value=0), dtype=c.result.dtype)
    at = c.op("compare_scalar", x, kind="eq", value=0)
    return ELEMENTWISE["where"](c, at, values, above)


# Whole numbers.


def _rounding(kind: str) -> Row:
    def row(c: Context, x: Operand) -> Operand:
        value = c.value(x)
        return c.op("rounded", value, kind=kind) if value.type.is_float else value

    return row


def rounded(c: Context, x: Operand, *, decimals: int = 0) -> Operand:
    if not decimals or not c.type(x).is_float:
        return _rounding("round")(c, x)
    return scale(c, c.op("rounded", scale(c, x, 10.0**decimals), kind="round"), 10.0**-decimals)


def sign(c: Context, x: Operand) -> Operand:
    value = c.value(x)
    if value.type.is_float:
        return c.op("rounded", value, kind="sign")
    if value.type.dtype == "bool":
        return value
    above, below = (
        c.op("cast", c.op("compare_scalar", value, kind=kind, value=0), dtype=value.type.dtype)
        for kind in ("gt", "lt")
    )
    return c.op("sub", above, below)


def fraction(c: Context, x: Operand) -> Operand:
    return c.op("sub", x, c.op("rounded", x, kind="trunc"))


def quotient(c: Context, x: Operand, y: Operand, kind: str) -> Value:
    """The quotient, rounded down or towards 0; exact for whole numbers below 2^53."""
    parts = [_number_or_cast(c, v) for v in (x, y)]
    exact = c.op("div", *(c.value(v, spread=False) for v in parts))
    found = c.op("rounded", exact, kind=kind)
    return c.value(c.cast(found, c.result.dtype))


def _number_or_cast(c: Context, x: Operand) -> Operand:
    if isinstance(x, ImageNumbers):
        c.refuse("computes with the numbers of the images", "they can only pick entries")
    dtype = c.result.dtype if c.result.is_float else "f64"
    if isinstance(x, (bool, int, float)):
        x = c.value(x)
    return c.cast(x, dtype)


def _quotient(kind: str) -> Row:
    def row(c: Context, x: Operand, y: Operand) -> Operand:
        return quotient(c, x, y, kind)

    return row


def _rest(kind: str) -> Row:
    """x − y · quotient."""

    def row(c: Context, x: Operand, y: Operand) -> Operand:
        return sub(c, x, mul(c, quotient(c, x, y, kind), y))

    return row


def divided(c: Context, x: Operand, y: Operand, *, rounding_mode: str | None = None) -> Operand:
    if rounding_mode is None:
        return div(c, x, y)
    return quotient(c, x, y, rounding_mode)


# Numbers that are none.


def isnan(c: Context, x: Operand) -> Operand:
    return c.op("compare", x, x, kind="ne")


def isinf(c: Context, x: Operand) -> Operand:
    return c.op("compare_scalar", _size(c, x), kind="eq", value=math.inf)


def _size(c: Context, x: Operand) -> Value:
    return c.op("abs", x if c.type(x).is_float else c.cast(x, "f64"))


def isfinite(c: Context, x: Operand) -> Operand:
    return c.op("compare_scalar", _size(c, x), kind="lt", value=math.inf)


def nan_to_num(
    c: Context, x: Operand, nan: float | None = None, posinf: float | None = None,
    neginf: float | None = None,
) -> Operand:  # fmt: skip
    value, limits = c.value(x), torch.finfo(torch.float64)
    if not value.type.is_float:
        return value
    limits = torch.finfo(getattr(torch, _TORCH[value.type.dtype]))
    value = c.op("masked_fill", value, isnan(c, value), value=nan or 0.0)
    for number, filled in ((math.inf, posinf), (-math.inf, neginf)):
        found = c.op("compare_scalar", value, kind="eq", value=number)
        most = limits.max if number > 0 else limits.min
        value = c.op("masked_fill", value, found, value=most if filled is None else filled)
    return value


_TORCH = {"f64": "float64", "f32": "float32", "bf16": "bfloat16", "f16": "float16"}


def one_hot(c: Context, x: Operand, num_classes: int = -1) -> Operand:
    classes = c.fixed(c.result.shape[-1])
    index = c.reshape(x, (*c.type(x).shape, 1))
    places = c.value(numbers.counting(c, classes))
    return c.op("cast", c.op("compare", index, places, kind="eq"), dtype=c.result.dtype)


ROWS: dict[str, Any] = {
    "log1p": unary("log1p"), "erf": unary("erf"), "special_erf": unary("erf"),
    "special_log1p": unary("log1p"),
    "expm1": expm1, "special_expm1": expm1, "exp2": exp2, "special_exp2": exp2,
    "log2": _log_of_base(2), "log10": _log_of_base(10), "tan": tan,
    "sinh": _hyperbolic(-1.0), "cosh": _hyperbolic(1.0), "erfc": erfc, "special_erfc": erfc,
    "softsign": softsign, "tanhshrink": tanhshrink, "hardshrink": hardshrink,
    "logit": logit, "special_logit": logit, "logaddexp": logaddexp, "hypot": hypot,
    "addcdiv": addcdiv, "heaviside": heaviside,
    "floor": _rounding("floor"), "ceil": _rounding("ceil"), "trunc": _rounding("trunc"),
    "fix": _rounding("trunc"), "round": rounded, "special_round": rounded,
    "sign": sign, "sgn": sign, "frac": fraction,
    "floordiv": _quotient("floor"), "floor_divide": _quotient("floor"),
    "rfloordiv": swapped(_quotient("floor")),
    "remainder": _rest("floor"), "mod": _rest("floor"), "fmod": _rest("trunc"),
    "rmod": swapped(_rest("floor")),
    "div": divided, "divide": divided, "true_divide": divided,
    "isnan": isnan, "isinf": isinf, "isfinite": isfinite, "nan_to_num": nan_to_num,
    "one_hot": one_hot,
}  # fmt: skip
