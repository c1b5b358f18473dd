"""Arithmetic, functions and comparisons, entry by entry."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lrpc.export.onnx.writer import DTYPES, NUMPY, Emit, Writer, alike
from lrpc.ir.graph import Node


def simple(op: str, of_truths: str = "") -> Emit:
    """One operator, on operands in the type of the result; another where these are truth values,
    with which onnxruntime does not reckon."""

    def emit(w: Writer, node: Node, x: Sequence[str]) -> str:
        truths = of_truths and node.out.type.dtype == "bool"
        return w.op(of_truths if truths else op, *alike(w, node, x))

    return emit


def by_number(op: str) -> Emit:
    """An operand and a number."""

    def emit(w: Writer, node: Node, x: Sequence[str]) -> str:
        by = node.attr("by")
        number = by if isinstance(by, int) else node.number("by")
        return w.op(op, *alike(w, node, x), constant(w, node, number))

    return emit


def constant(w: Writer, node: Node, value: float) -> str:
    """A number in the type of the result."""
    return w.number(value, node.out.type.dtype)


def expm1(w: Writer, x: str, dtype: str) -> str:
    """exp(x) - 1 without cancellation: 2 t / (1 - t) with t = tanh(x / 2) near 0."""
    one, two, half = (w.number(n, dtype) for n in (1, 2, 0.5))
    near = w.op("Clip", x, w.number(-1, dtype), one)
    t = w.op("Tanh", w.op("Mul", near, half))
    small = w.op("Div", w.op("Mul", two, t), w.op("Sub", one, t))
    large = w.op("Sub", w.op("Exp", x), one)
    return w.op("Where", w.op("Less", w.op("Abs", x), one), small, large)


def log1p(w: Writer, x: str, dtype: str) -> str:
    """log(1 + x) without cancellation."""
    one = w.number(1, dtype)
    whole = w.op("Add", x, one)
    risen = w.op("Sub", whole, one)
    exact = w.op("Equal", risen, w.number(0, dtype))
    safe = w.op("Where", exact, one, risen)
    return w.op("Where", exact, x, w.op("Mul", w.op("Log", whole), w.op("Div", x, safe)))


def softplus(w: Writer, x: str, dtype: str) -> str:
    """log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|))."""
    tail = w.op("Exp", w.op("Neg", w.op("Abs", x)))
    return w.op("Add", w.op("Max", x, w.number(0, dtype)), log1p(w, tail, dtype))


def clip(w: Writer, x: str, dtype: str, low: float | None, high: float | None) -> str:
    bounds = ["" if b is None else w.number(b, dtype) for b in (low, high)]
    return w.op("Clip", x, *bounds)


def bounds(node: Node) -> tuple[float | None, float | None]:
    """The attributes `min` and `max`."""
    low, high = (None if node.attr(k) is None else node.number(k) for k in ("min", "max"))
    return low, high


def _leaky_relu(w: Writer, node: Node, x: Sequence[str]) -> str:
    above = w.op("Greater", x[0], constant(w, node, 0))
    return w.op("Where", above, x[0], w.op("Mul", x[0], constant(w, node, node.number("slope"))))


def _elu(w: Writer, node: Node, x: Sequence[str]) -> str:
    zero, dtype = constant(w, node, 0), node.out.type.dtype
    below = expm1(w, w.op("Min", x[0], zero), dtype)
    return w.op("Where", w.op("Greater", x[0], zero), x[0], below)


def gelu_ratio(w: Writer, node: Node, x: Sequence[str]) -> str:
    """gelu(x) / x."""
    one, half = constant(w, node, 1), constant(w, node, 0.5)
    if node.attr("approximate") == "none":
        erf = w.op("Erf", w.op("Mul", x[0], constant(w, node, math.sqrt(0.5))))
        return w.op("Mul", half, w.op("Add", one, erf))
    cube = w.op("Mul", constant(w, node, 0.044715), w.op("Mul", x[0], x[0]))
    scaled = w.op("Mul", constant(w, node, 2 * math.sqrt(2 / math.pi)), x[0])
    return w.op("Sigmoid", w.op("Mul", scaled, w.op("Add", one, cube)))


def hardswish_ratio(w: Writer, node: Node, x: Sequence[str]) -> str:
    """clip(x + 3, 0, 6) / 6."""
    risen = w.op("Add", x[0], constant(w, node, 3))
    return w.op("Div", clip(w, risen, node.out.type.dtype, 0, 6), constant(w, node, 6))


def mish_ratio(w: Writer, node: Node, x: Sequence[str]) -> str:
    """tanh(softplus(x))."""
    return w.op("Tanh", softplus(w, x[0], node.out.type.dtype))


def _centred_softplus(w: Writer, node: Node, x: Sequence[str]) -> str:
    return w.op("Sub", softplus(w, x[0], node.out.type.dtype), constant(w, node, math.log(2)))


def _clamp(w: Writer, node: Node, x: Sequence[str]) -> str:
    (operand,) = alike(w, node, x)
    return clip(w, operand, node.out.type.dtype, *bounds(node))


def _pow(w: Writer, node: Node, x: Sequence[str]) -> str:
    return w.op("Pow", *alike(w, node, x), constant(w, node, node.number("exponent")))


_COMPARED = {
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "lt": "Less",
    "le": "LessOrEqual",
    "eq": "Equal",
    "ne": "Equal",
}


def _compared(w: Writer, node: Node, a: str, b: str) -> str:
    kind = str(node.attr("kind"))
    found = w.op(_COMPARED[kind], a, b)
    return w.op("Not", found) if kind == "ne" else found


def _common(*dtypes: str) -> str:
    """A type that holds the numbers of both, and that can be compared."""
    found = str(np.result_type(*(NUMPY[d] for d in dtypes)))
    names = {np.dtype(kind).name: name for name, kind in NUMPY.items()}
    name = names[found]
    return "i32" if name in ("bool", "u8") else name


def _compare(w: Writer, node: Node, x: Sequence[str]) -> str:
    kinds = [v.type.dtype for v in node.inputs]
    common = _common(*kinds)
    return _compared(
        w, node, *(w.cast(name, kind, common) for name, kind in zip(x, kinds, strict=True))
    )


def _compare_scalar(w: Writer, node: Node, x: Sequence[str]) -> str:
    value, have = node.number("value"), node.inputs[0].type.dtype
    whole = node.inputs[0].type.is_float or value.is_integer()
    common = _common(have, have) if whole else "f64"
    number = value if NUMPY[common] in (np.float32, np.float64) else int(value)
    return _compared(w, node, w.cast(x[0], have, common), w.number(number, common))


def _truths(w: Writer, node: Node, x: Sequence[str]) -> list[str]:
    return [w.cast(name, v.type.dtype, "bool") for name, v in zip(x, node.inputs, strict=True)]


def _logical(w: Writer, node: Node, x: Sequence[str]) -> str:
    return w.op({"and": "And", "or": "Or"}[str(node.attr("kind"))], *_truths(w, node, x))


def chosen(w: Writer, condition: str, a: str, b: str, dtype: str) -> str:
    """Where; onnxruntime has it for numbers alone."""
    if dtype != "bool":
        return w.op("Where", condition, a, b)
    first = w.op("And", condition, a)
    return w.op("Or", first, w.op("And", w.op("Not", condition), b))


def _where(w: Writer, node: Node, x: Sequence[str]) -> str:
    dtype = node.out.type.dtype
    condition = w.cast(x[0], node.inputs[0].type.dtype, "bool")
    a, b = (w.cast(n, v.type.dtype, dtype) for n, v in zip(x[1:], node.inputs[1:], strict=True))
    return chosen(w, condition, a, b, dtype)


def _masked_fill(w: Writer, node: Node, x: Sequence[str]) -> str:
    dtype = node.out.type.dtype
    mask = w.cast(x[1], node.inputs[1].type.dtype, "bool")
    return chosen(w, mask, constant(w, node, node.number("value")), x[0], dtype)


def _add_product(w: Writer, node: Node, x: Sequence[str]) -> str:
    a, b, c = alike(w, node, x)
    return w.op("Add", a, w.op("Mul", b, c))


ROWS: dict[str, Emit] = {
    "add": simple("Add", "Or"),
    "sub": simple("Sub"),
    "mul": simple("Mul", "And"),
    "div": simple("Div"),
    "scale": by_number("Mul"),
    "shift": by_number("Add"),
    "pow": _pow,
    "relu": simple("Relu"),
    "leaky_relu": _leaky_relu,
    "relu6": lambda w, node, x: clip(w, x[0], node.out.type.dtype, 0, 6),
    "elu": _elu,
    "gelu": lambda w, node, x: w.op("Mul", x[0], gelu_ratio(w, node, x)),
    "silu": lambda w, node, x: w.op("Mul", x[0], w.op("Sigmoid", x[0])),
    "hardswish": lambda w, node, x: w.op("Mul", x[0], hardswish_ratio(w, node, x)),
    "mish": lambda w, node, x: w.op("Mul", x[0], mish_ratio(w, node, x)),
    "centred_softplus": _centred_softplus,
    "clamp": _clamp,
    "detach": lambda w, node, x: x[0],
    "cast": lambda w, node, x: w.cast(x[0], node.inputs[0].type.dtype, node.out.type.dtype),
    "compare": _compare,
    "compare_scalar": _compare_scalar,
    "logical": _logical,
    "logical_not": lambda w, node, x: w.op("Not", *_truths(w, node, x)),
    "where": _where,
    "choose": _where,
    "masked_fill": _masked_fill,
    "add_product": _add_product,
    "reciprocal": simple("Reciprocal"),
    "exp": simple("Exp"),
    "log": simple("Log"),
    "log1p": lambda w, node, x: log1p(w, x[0], node.out.type.dtype),
    "erf": simple("Erf"),
    "sqrt": simple("Sqrt"),
    "sin": simple("Sin"),
    "cos": simple("Cos"),
    "abs": simple("Abs"),
    "sigmoid": simple("Sigmoid"),
    "tanh": simple("Tanh"),
}
__all__ = ["DTYPES", "ROWS", "bounds", "chosen", "clip", "constant", "expm1", "gelu_ratio",
           "hardswish_ratio", "log1p", "mish_ratio", "simple", "softplus"]  # fmt: skip
