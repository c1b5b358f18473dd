"""Rows for arithmetic, activations, comparisons and casts."""

from __future__ import annotations

import math
from typing import Any

import torch

from lrpc.frontend.lowering.context import Context, Operand, scalar
from lrpc.frontend.lowering.missing import OfEachImage
from lrpc.frontend.records import Stored
from lrpc.ir.graph import Value
from lrpc.ir.types import DTYPES, NAMES, Sym

FLIPPED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge", "eq": "eq", "ne": "ne"}


def _pair(c: Context, x: Operand, y: Operand, dtype: str | None = None) -> tuple[Value, Value]:
    """Both operands in one dtype: the result's, or what the two promote to."""
    if dtype is None:
        samples = [
            torch.empty((1,) * c.type(v).rank, dtype=DTYPES[c.type(v).dtype]) for v in (x, y)
        ]
        dtype = NAMES[torch.result_type(*samples)]
    left, right = (c.value(c.cast(v, dtype), spread=False) for v in (x, y))
    return left, right


def _arithmetic(c: Context, op: str, x: Operand, y: Operand) -> Value:
    left, right = _pair(c, x, y, c.result.dtype)
    return c.op(op, left, right)


def _number(c: Context, x: Operand, beside: Operand = None) -> float | int | None:
    """The number that `x` is everywhere, where broadcasting it leaves the shape of `beside`."""
    if isinstance(x, Sym):
        c.refuse("computes with the batch size")
    if isinstance(x, Stored) and isinstance(beside, (Value, Stored)):
        return x.uniform if beside.type.shape == c.result.shape else None
    if isinstance(x, Value) and isinstance(beside, (Value, Stored)):
        return c.everywhere(x) if beside.type.shape == c.result.shape else None
    return scalar(x)


def _numbers(c: Context, x: Operand, y: Operand) -> tuple[float | int | None, float | int | None]:
    return _number(c, x, y), _number(c, y, x)


def swapped(row: Any) -> Any:
    """`row` with its two operands in the other order."""

    def turned(c: Context, x: Operand, y: Operand, **options: Any) -> Operand:
        return row(c, y, x, **options)

    return turned


def add(c: Context, x: Operand, y: Operand, *, alpha: float = 1) -> Operand:
    first, second = _numbers(c, x, y)
    if second is not None:
        return shift(c, x, second * alpha)
    if first is not None:
        return shift(c, scale(c, y, alpha), first)
    return _arithmetic(c, "add", x, scale(c, y, alpha))


def sub(c: Context, x: Operand, y: Operand, *, alpha: float = 1) -> Operand:
    if isinstance(y, OfEachImage) and y.of == x:
        y = y.each
    first, second = _numbers(c, x, y)
    if second is not None:
        return shift(c, x, -second * alpha)
    if first is not None:
        return shift(c, scale(c, y, -alpha), first)
    return _arithmetic(c, "sub", x, scale(c, y, alpha))


def mul(c: Context, x: Operand, y: Operand) -> Operand:
    first, second = _numbers(c, x, y)
    if second is not None:
        return scale(c, x, second)
    return _arithmetic(c, "mul", x, y) if first is None else scale(c, y, first)


def scale(c: Context, x: Operand, by: float) -> Operand:
    return x if by == 1 else c.op("scale", c.cast(x, c.result.dtype), by=by)


def shift(c: Context, x: Operand, by: float) -> Operand:
    return x if by == 0 else c.op("shift", c.cast(x, c.result.dtype), by=by)


def div(c: Context, x: Operand, y: Operand) -> Operand:
    first, second = _numbers(c, x, y)
    if second:
        return scale(c, x, 1 / second)
    if first is not None and second is None:
        return scale(c, c.op("reciprocal", c.cast(y, c.result.dtype)), first)
    return _arithmetic(c, "div", x, y)


def neg(c: Context, x: Operand) -> Operand:
    return scale(c, x, -1)


def power(c: Context, x: Operand, exponent: Operand) -> Operand:
    if (number := _exponent(c, exponent, x)) is not None:
        if number < 0 and not c.result.is_float:
            c.refuse("raises whole numbers to a negative power")
        return c.op("pow", c.cast(x, c.result.dtype), exponent=number)
    if isinstance(exponent, Stored) and isinstance(x, Value):
        c.refuse("raises a tensor to powers that differ", "raise parts of it, each to one power")
    base = _number(c, x)
    if base is None or base <= 0 or not c.result.is_float:
        c.refuse("raises a traced tensor, or whole numbers, to a traced power")
    return c.op("exp", scale(c, exponent, math.log(base)))


def _exponent(c: Context, exponent: Operand, x: Operand) -> float | int | None:
    """The number that an exponent is everywhere. One that is learned is fixed to its value."""
    if isinstance(exponent, Stored) and exponent.name and c.type(x).shape == c.result.shape:
        return exponent.everywhere
    return _number(c, exponent, x)


def rsqrt(c: Context, x: Operand) -> Operand:
    return c.op("pow", x, exponent=-0.5)


def square(c: Context, x: Operand) -> Operand:
    return c.op("pow", x, exponent=2)


def lerp(c: Context, x: Operand, end: Operand, weight: float) -> Operand:
    return c.op("add", scale(c, x, 1 - weight), scale(c, end, weight))


def addcmul(c: Context, x: Operand, y: Operand, z: Operand, *, value: float = 1) -> Operand:
    return _arithmetic(c, "add", x, scale(c, _arithmetic(c, "mul", y, z), value))


def clamp(c: Context, x: Operand, min: Operand = None, max: Operand = None) -> Operand:
    low, high = (None if v is None else _number(c, v) for v in (min, max))
    if (low is None) != (min is None):
        x, min = _larger("ge")(c, x, min), None
    if (high is None) != (max is None):
        x, max = _larger("le")(c, x, max), None
    if low is None and high is None:
        return x
    if c.result.dtype == "bool":
        c.refuse("bounds booleans")
    if low == 0 and high in (None, 6):
        return c.op("relu" if high is None else "relu6", c.cast(x, c.result.dtype))
    return c.op("clamp", c.cast(x, c.result.dtype), min=low, max=high)


def clamp_min(c: Context, x: Operand, min: Operand) -> Operand:
    return clamp(c, x, min)


def clamp_max(c: Context, x: Operand, max: Operand) -> Operand:
    return clamp(c, x, None, max)


def _comparison(kind: str) -> Any:
    def row(c: Context, x: Operand, y: Operand) -> Operand:
        first, second = _numbers(c, x, y)
        if second is not None:
            return c.op("compare_scalar", x, kind=kind, value=second)
        if first is not None:
            return c.op("compare_scalar", y, kind=FLIPPED[kind], value=first)
        return c.op("compare", *_pair(c, x, y), kind=kind)

    return row


def _logical(kind: str) -> Any:
    def row(c: Context, x: Operand, y: Operand) -> Operand:
        if c.result.dtype != "bool":
            c.refuse("works on the bits of integers")
        return c.op("logical", *_pair(c, x, y, "bool"), kind=kind)

    return row


def logical_not(c: Context, x: Operand) -> Operand:
    if c.result.dtype != "bool":
        c.refuse("works on the bits of integers")
    return c.op("logical_not", x)


def where(c: Context, condition: Operand, x: Operand = None, y: Operand = None) -> Operand:
    if x is None or y is None:
        c.refuse("gives places whose number depends on the data", "multiply by the mask instead")
    chosen = condition.uniform if isinstance(condition, Stored) else None
    if chosen is not None and not isinstance(picked := x if chosen else y, (int, float)):
        return c.expand(c.cast(picked, c.result.dtype), c.result.shape)
    kind = DTYPES[c.result.dtype]
    parts = (
        c.constant(torch.tensor(v, dtype=kind)) if isinstance(v, (int, float)) else v
        for v in (x, y)
    )
    left, right = (c.value(c.cast(v, c.result.dtype), spread=False) for v in parts)
    return c.op("where", c.value(condition, spread=False), left, right)


def where_method(c: Context, x: Operand, condition: Operand, y: Operand) -> Operand:
    """`x.where(condition, y)`: the condition comes second."""
    return where(c, condition, x, y)


def masked_fill(c: Context, x: Operand, mask: Operand, value: Operand) -> Operand:
    if isinstance(mask, Stored) and mask.uniform is False and c.type(x).shape == c.result.shape:
        return x
    number = _number(c, value)
    if number is None:
        return where(c, mask, value, x)
    return c.op("masked_fill", x, c.value(mask, spread=False), value=number)


def _larger(kind: str) -> Any:
    def row(c: Context, x: Operand, y: Operand) -> Operand:
        left, right = _pair(c, x, y, c.result.dtype)
        return c.op("where", c.op("compare", left, right, kind=kind), left, right)

    return row


def cast(c: Context, x: Operand, *args: Any, **kwargs: Any) -> Operand:
    return c.cast(x, c.result.dtype)


def detach(c: Context, x: Operand) -> Operand:
    return c.op("detach", x)


def same(c: Context, x: Operand, *args: Any, **kwargs: Any) -> Operand:
    return x


def copy(c: Context, x: Operand, source: Operand, non_blocking: bool = False) -> Operand:
    return c.expand(c.cast(source, c.result.dtype), c.result.shape)


def fill(c: Context, x: Operand, value: Operand) -> Operand:
    if (number := _number(c, value)) is None:
        return c.expand(c.cast(value, c.result.dtype), c.result.shape)
    return c.op("full", shape=c.result.shape, value=number, dtype=c.result.dtype)


def zero(c: Context, x: Operand) -> Operand:
    return fill(c, x, 0)


def unary(op: str) -> Any:
    def row(c: Context, x: Operand, inplace: bool = False) -> Operand:
        return c.op(op, c.cast(x, c.result.dtype))

    return row


ROWS: dict[str, Any] = {
    "add": add, "radd": add, "sub": sub, "subtract": sub, "rsub": swapped(sub),
    "mul": mul, "rmul": mul, "multiply": mul,
    "rdiv": swapped(div),
    "neg": neg, "negative": neg, "pow": power, "rpow": swapped(power),
    "rsqrt": rsqrt, "square": square, "lerp": lerp, "addcmul": addcmul,
    "exp": unary("exp"), "log": unary("log"), "sqrt": unary("sqrt"), "sin": unary("sin"),
    "cos": unary("cos"), "abs": unary("abs"), "absolute": unary("abs"),
    "reciprocal": unary("reciprocal"),
    "sigmoid": unary("sigmoid"), "special_expit": unary("sigmoid"), "tanh": unary("tanh"),
    "clamp": clamp, "clip": clamp, "clamp_min": clamp_min, "clamp_max": clamp_max,
    **{kind: _comparison(kind) for kind in FLIPPED},
    "greater": _comparison("gt"), "less": _comparison("lt"), "not_equal": _comparison("ne"),
    "greater_equal": _comparison("ge"), "less_equal": _comparison("le"),
    "and": _logical("and"), "or": _logical("or"), "rand": _logical("and"), "ror": _logical("or"),
    "logical_and": _logical("and"), "logical_or": _logical("or"),
    "bitwise_and": _logical("and"), "bitwise_or": _logical("or"),
    "invert": logical_not, "logical_not": logical_not, "bitwise_not": logical_not,
    "maximum": _larger("ge"), "minimum": _larger("le"),
    "where": where, "masked_fill": masked_fill,
    "to": cast, "type": cast, "type_as": cast, "float": cast, "double": cast, "half": cast,
    "bfloat16": cast, "bool": cast, "int": cast, "long": cast,
    "detach": detach, "data": detach,
    "contiguous": same, "clone": same, "cpu": same, "cuda": same, "positive": same, "pos": same,
    "real": same,
    "copy": copy, "fill": fill, "zero": zero,
}  # fmt: skip
