"""What the relevance half uses: ratios, slopes, transposes of norms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from lrpc.export.onnx.elementwise import (
    bounds,
    clip,
    constant,
    expm1,
    gelu_ratio,
    hardswish_ratio,
    log1p,
    mish_ratio,
    softplus,
)
from lrpc.export.onnx.network import centred, channelwise, grouped, inverse, optional
from lrpc.export.onnx.structural import range_of
from lrpc.export.onnx.writer import NUMPY, Emit, Writer, alike
from lrpc.ir.graph import Node


def stabilised(w: Writer, z: str, node: Node) -> str:
    """|z| / (|z| + eps), 1 where z is infinite."""
    most = float(np.finfo(NUMPY[node.out.type.dtype]).max)
    size = w.op("Min", w.op("Abs", z), constant(w, node, most))
    return w.op("Div", size, w.op("Add", size, constant(w, node, node.number("eps"))))


def _ratio(w: Writer, node: Node, x: Sequence[str]) -> str:
    """a / stab(z), 0 where stab(z) is 0."""
    a, z = alike(w, node, x)
    zero, one, eps = (constant(w, node, n) for n in (0, 1, node.number("eps")))
    if node.number("eps"):
        z = w.op("Add", z, w.op("Where", w.op("GreaterOrEqual", z, zero), eps, w.op("Neg", eps)))
    none = w.op("Equal", z, zero)
    return w.op("Where", none, zero, w.op("Div", a, w.op("Where", none, one, z)))


def _leaky_relu_gate(w: Writer, node: Node, x: Sequence[str]) -> str:
    above = w.op("Greater", x[1], constant(w, node, 0))
    return w.op("Where", above, x[0], w.op("Mul", x[0], constant(w, node, node.number("slope"))))


def _where_zero(w: Writer, node: Node, x: str, there: float, top: Callable[[str], str]) -> str:
    """top(x) / x, and `there` where x is 0."""
    none = w.op("Equal", x, constant(w, node, 0))
    safe = w.op("Where", none, constant(w, node, 1), x)
    return w.op("Where", none, constant(w, node, there), w.op("Div", top(x), safe))


def tanh_ratio(w: Writer, node: Node, x: str) -> str:
    """tanh(x) / x, by its series near 0."""
    small = w.op("Less", w.op("Abs", x), constant(w, node, 1e-4))
    series = w.op("Sub", constant(w, node, 1), w.op("Div", w.op("Mul", x, x), constant(w, node, 3)))
    exact = w.op("Div", w.op("Tanh", x), w.op("Where", small, constant(w, node, 1), x))
    return w.op("Where", small, series, exact)


def _sigmoid_ratio(w: Writer, node: Node, x: Sequence[str]) -> str:
    half = w.op("Mul", x[0], constant(w, node, 0.5))
    return w.op("Mul", constant(w, node, 0.25), tanh_ratio(w, node, half))


def _relu6_ratio(w: Writer, node: Node, x: Sequence[str]) -> str:
    six, zero = constant(w, node, 6), constant(w, node, 0)
    return w.op(
        "Where", w.op("Greater", x[0], zero), w.op("Div", six, w.op("Max", x[0], six)), zero
    )


def _elu_ratio(w: Writer, node: Node, x: Sequence[str]) -> str:
    below, dtype = w.op("Min", x[0], constant(w, node, 0)), node.out.type.dtype
    return _where_zero(w, node, below, 1, lambda v: expm1(w, v, dtype))


def _centred_softplus_ratio(w: Writer, node: Node, x: Sequence[str]) -> str:
    dtype, half = node.out.type.dtype, constant(w, node, 0.5)
    inner = w.op("Mul", half, expm1(w, clip(w, x[0], dtype, -1, 1), dtype))
    far = w.op("Sub", softplus(w, x[0], dtype), constant(w, node, math.log(2)))
    near = w.op("Less", w.op("Abs", x[0]), constant(w, node, 1))
    risen = w.op("Where", near, log1p(w, inner, dtype), far)
    return _where_zero(w, node, x[0], 0.5, lambda _: risen)


def _exp_ratio(w: Writer, node: Node, x: Sequence[str]) -> str:
    return _where_zero(w, node, x[0], 1, lambda v: expm1(w, v, node.out.type.dtype))


def _cos_ratio(w: Writer, node: Node, x: Sequence[str]) -> str:
    """-sin²(x / 2) / (x / 2)."""
    half = w.op("Mul", x[0], constant(w, node, 0.5))
    sine = w.op("Sin", half)
    return w.op("Neg", w.op("Mul", sine, _where_zero(w, node, half, 1, lambda _: sine)))


def _clamp_ratio(w: Writer, node: Node, x: Sequence[str]) -> str:
    (low, high), dtype = bounds(node), node.out.type.dtype
    inside = (low is None or low < 0) and (high is None or high > 0)
    start = clip(w, constant(w, node, 0), dtype, low, high)
    risen = w.op("Sub", clip(w, x[0], dtype, low, high), start)
    return _where_zero(w, node, x[0], float(inside), lambda _: risen)


def _clamp_gate(w: Writer, node: Node, x: Sequence[str]) -> str:
    dtype = node.inputs[1].type.dtype
    same = w.op("Equal", clip(w, x[1], dtype, *bounds(node)), x[1])
    return w.op("Where", same, x[0], constant(w, node, 0))


def _power_gradient(w: Writer, node: Node, x: Sequence[str]) -> str:
    g, base = alike(w, node, x)
    exponent, zero = node.number("exponent"), constant(w, node, 0)
    slope = w.op("Pow", base, constant(w, node, exponent - 1))
    slope = w.op("Mul", constant(w, node, node.number("by")), slope)
    if exponent < 1:
        slope = w.op("Where", w.op("Equal", base, zero), zero, slope)
    most = float(np.finfo(NUMPY[node.out.type.dtype]).max)
    return clip(w, w.op("Mul", g, slope), node.out.type.dtype, -most, most)


def _slope(w: Writer, node: Node, x: str) -> str:
    """The derivative of an activation."""
    kind, dtype = str(node.attr("kind")), node.out.type.dtype
    zero, one, half = (constant(w, node, n) for n in (0, 1, 0.5))
    s = w.op("Sigmoid", x)
    rest = w.op("Sub", one, s)
    if kind == "sigmoid":
        return w.op("Mul", s, w.op("Sigmoid", w.op("Neg", x)))
    if kind == "tanh":
        t = w.op("Tanh", x)
        return w.op("Sub", one, w.op("Mul", t, t))
    if kind == "silu":
        return w.op("Mul", s, w.op("Add", one, w.op("Mul", x, rest)))
    if kind == "centred_softplus":
        return s
    if kind == "elu":
        return w.op("Exp", w.op("Min", x, zero))
    if kind == "mish":
        t = w.op("Tanh", softplus(w, x, dtype))
        more = w.op("Mul", w.op("Mul", x, s), w.op("Sub", one, w.op("Mul", t, t)))
        return w.op("Add", t, more)
    above = w.op("Greater", x, zero)
    if kind == "relu6":
        inside = w.op("And", above, w.op("Less", x, constant(w, node, 6)))
        return w.cast(inside, "bool", dtype)
    if kind == "hardswish":
        middle = w.op("Add", w.op("Div", x, constant(w, node, 3)), half)
        inside = w.op("Less", w.op("Abs", x), constant(w, node, 3))
        return w.op("Where", inside, middle, w.cast(above, "bool", dtype))
    return _gelu_slope(w, node, x, kind)


def _gelu_slope(w: Writer, node: Node, x: str, kind: str) -> str:
    one, half = constant(w, node, 1), constant(w, node, 0.5)
    square = w.op("Mul", x, x)
    if kind == "gelu_none":
        erf = w.op("Erf", w.op("Mul", x, constant(w, node, math.sqrt(0.5))))
        share = w.op("Mul", half, w.op("Add", one, erf))
        bell = w.op("Exp", w.op("Mul", constant(w, node, -0.5), square))
        bell = w.op("Mul", bell, constant(w, node, 1 / math.sqrt(2 * math.pi)))
        return w.op("Add", share, w.op("Mul", x, bell))
    c = 2 * math.sqrt(2 / math.pi)
    inner = w.op("Add", constant(w, node, c), w.op("Mul", constant(w, node, c * 0.044715), square))
    s = w.op("Sigmoid", w.op("Mul", x, inner))
    rise = w.op(
        "Add", constant(w, node, c), w.op("Mul", constant(w, node, 3 * c * 0.044715), square)
    )
    curve = w.op("Mul", w.op("Mul", s, w.op("Sub", one, s)), w.op("Mul", x, rise))
    return w.op("Add", s, curve)


def _rstd(w: Writer, node: Node, x: Sequence[str]) -> str:
    groups, shape = node.integer("groups"), node.inputs[0].type.shape
    rows = grouped(w, x[0], shape, 1, groups) if groups else x[0]
    around = centred(w, rows)
    return inverse(w, w.op("Mul", around, around), constant(w, node, node.number("eps")))


def _reciprocal_rms(w: Writer, node: Node, x: Sequence[str]) -> str:
    return inverse(w, w.op("Mul", x[0], x[0]), constant(w, node, node.number("eps")))


def _layer_norm_transpose(w: Writer, node: Node, x: Sequence[str]) -> str:
    weight = optional(w, node, "weight")
    g = w.op("Mul", x[0], weight) if weight else x[0]
    return centred(w, w.op("Mul", g, x[1]))


def _scaled(w: Writer, node: Node, g: str, rank: int) -> str:
    """`g` times a weight for each channel, where there is one."""
    name = node.attr("weight")
    return g if name is None else w.op("Mul", g, channelwise(w, node, str(name), rank))


def _group_norm_transpose(w: Writer, node: Node, x: Sequence[str]) -> str:
    shape = node.inputs[0].type.shape
    g = _scaled(w, node, x[0], len(shape) - 2)
    rows = grouped(w, g, shape, 2, node.integer("groups"))
    return w.op("Reshape", centred(w, w.op("Mul", rows, x[1])), w.extents(shape))


def _norm_gradient(w: Writer, node: Node, x: Sequence[str]) -> str:
    """The whole Jacobian, transposed: r (g - mean(g) - unit · mean(g · unit))."""
    groups, shape = node.integer("groups"), node.inputs[1].type.shape
    given = node.inputs[0].type.shape
    g = _scaled(w, node, x[0], len(shape) - 1 if groups else 1)
    rows = x[1]
    if groups:
        g, rows = grouped(w, g, given, 2, groups), grouped(w, rows, shape, 1, groups)
    around = centred(w, rows)
    r = inverse(w, w.op("Mul", around, around), constant(w, node, node.number("eps")))
    unit = w.op("Mul", around, r)
    along = w.op("Mul", unit, w.reduce("ReduceMean", w.op("Mul", g, unit), [-1]))
    back = w.op("Mul", r, w.op("Sub", centred(w, g), along))
    return w.op("Reshape", back, w.extents(node.out.type.shape))


def _softmax_transpose(w: Writer, node: Node, x: Sequence[str]) -> str:
    g, s = x
    axis = node.integer("dim")
    axis = axis if axis < 0 else axis - node.inputs[0].type.rank
    total = w.reduce("ReduceSum", w.op("Mul", s, g), [axis])
    return w.op("Mul", s, w.op("Sub", g, total))


def _softmax_jacobian(w: Writer, node: Node, x: Sequence[str]) -> str:
    rank = node.inputs[0].type.rank
    axis, order = node.integer("dim") % rank, list(range(rank))
    order[axis], order[-1] = order[-1], order[axis]
    rows = w.op("Transpose", x[0], perm=order)
    places = range_of(w, node.out.type.shape[-1])
    down, across = (w.op("Unsqueeze", places, w.integers([n])) for n in (1, 0))
    eye = w.cast(w.op("Equal", down, across), "bool", node.out.type.dtype)
    column, row = (w.op("Unsqueeze", rows, w.integers([n])) for n in (-1, -2))
    return w.op("Mul", column, w.op("Sub", eye, row))


ROWS: dict[str, Emit] = {
    "stab_ratio": lambda w, node, x: stabilised(w, x[0], node),
    "stab_mul": lambda w, node, x: w.op("Mul", x[0], stabilised(w, x[1], node)),
    "ratio": _ratio,
    "gate": lambda w, node, x: w.op("Where", x[1], x[0], constant(w, node, 0)),
    "leaky_relu_gate": _leaky_relu_gate,
    "gelu_ratio": gelu_ratio,
    "sigmoid_ratio": _sigmoid_ratio,
    "tanh_ratio": lambda w, node, x: tanh_ratio(w, node, x[0]),
    "relu6_ratio": _relu6_ratio,
    "elu_ratio": _elu_ratio,
    "hardswish_ratio": hardswish_ratio,
    "mish_ratio": mish_ratio,
    "centred_softplus_ratio": _centred_softplus_ratio,
    "abs_ratio": lambda w, node, x: w.op("Sign", x[0]),
    "exp_ratio": _exp_ratio,
    "log1p_ratio": lambda w, node, x: _where_zero(
        w, node, x[0], 1, lambda v: log1p(w, v, node.out.type.dtype)
    ),
    "erf_ratio": lambda w, node, x: _where_zero(
        w, node, x[0], 2 / math.sqrt(math.pi), lambda v: w.op("Erf", v)
    ),
    "sin_ratio": lambda w, node, x: _where_zero(w, node, x[0], 1, lambda v: w.op("Sin", v)),
    "cos_ratio": _cos_ratio,
    "clamp_ratio": _clamp_ratio,
    "clamp_gate": _clamp_gate,
    "power_gradient": _power_gradient,
    "activation_gradient": lambda w, node, x: w.op("Mul", x[0], _slope(w, node, x[1])),
    "rstd": _rstd,
    "reciprocal_rms": _reciprocal_rms,
    "layer_norm_transpose": _layer_norm_transpose,
    "group_norm_transpose": _group_norm_transpose,
    "norm_gradient": _norm_gradient,
    "softmax_transpose": _softmax_transpose,
    "softmax_jacobian": _softmax_jacobian,
}
