"""Rows for activation functions, and for dropout, which does nothing at inference."""

from __future__ import annotations

import math
from typing import Any

import torch

from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.elementwise import unary
from lrpc.frontend.records import Stored
from lrpc.ir.graph import Value
from lrpc.ir.types import DTYPES


def hardtanh(
    c: Context, x: Operand, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Operand:
    """Around 0 the sum of a positive and a negative part; elsewhere shifted to start at 0."""
    if min_val < 0 < max_val:
        return _difference(c, _upto(c, x, max_val), _upto(c, _scaled(c, x, -1.0), -min_val))
    raised = _upto(c, _shifted(c, x, -min_val), max_val - min_val)
    return _shifted(c, raised, min_val)


def _upto(c: Context, x: Operand, top: float) -> Value:
    """min(max(x, 0), top)."""
    return _scaled(c, c.op("relu6", _scaled(c, x, 6 / top)), top / 6)


def _scaled(c: Context, x: Operand, by: float) -> Value:
    return c.value(x) if by == 1 else c.op("scale", x, by=by)


def _shifted(c: Context, x: Operand, by: float) -> Value:
    return c.value(x) if by == 0 else c.op("shift", x, by=by)


def _difference(c: Context, x: Value, y: Value) -> Value:
    return c.op("sub", x, y)


def leaky_relu(
    c: Context, x: Operand, negative_slope: float = 0.01, inplace: bool = False
) -> Operand:
    return c.op("leaky_relu", x, slope=negative_slope)


def gelu(c: Context, x: Operand, approximate: str = "none") -> Operand:
    return c.op("gelu", x, approximate=approximate)


def dropout(
    c: Context, x: Operand, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Operand:
    if training and p:
        c.refuse("is active: it draws random numbers", "give training=self.training")
    return x


def rrelu(
    c: Context, x: Operand, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False,
    inplace: bool = False,
) -> Operand:  # fmt: skip
    if training:
        c.refuse("draws random numbers", "give training=self.training")
    return leaky_relu(c, x, (lower + upper) / 2)


def prelu(c: Context, x: Operand, weight: Operand) -> Operand:
    """One slope, or one for each channel (axis 1)."""
    if not isinstance(weight, Stored):
        c.refuse("has a slope that depends on the inputs", "write it as relu(x) - slope * relu(-x)")
    slopes = weight.tensor.flatten()
    if slopes.numel() == 1:
        return leaky_relu(c, x, float(slopes))
    each = c.constant(slopes.reshape(-1, *(1,) * (c.type(x).rank - 2)))
    below = c.op("mul", c.op("relu", _scaled(c, x, -1.0)), each)
    return _difference(c, c.op("relu", x), below)


def hardsigmoid(c: Context, x: Operand, inplace: bool = False) -> Operand:
    return _scaled(c, c.op("relu6", _shifted(c, x, 3.0)), 1 / 6)


def elu(c: Context, x: Operand, alpha: float = 1.0, inplace: bool = False) -> Operand:
    """For another α than 1, apart from the positive part, the α-fold of ELU's negative part."""
    if alpha == 1:
        return c.op("elu", x)
    below = c.op("elu", _scaled(c, c.op("relu", _scaled(c, x, -1.0)), -1.0))
    return c.op("add", c.op("relu", x), _scaled(c, below, alpha))


def celu(c: Context, x: Operand, alpha: float = 1.0, inplace: bool = False) -> Operand:
    return _scaled(c, c.op("elu", _scaled(c, x, 1 / alpha)), alpha)


def selu(c: Context, x: Operand, inplace: bool = False) -> Operand:
    """Klambauer et al. 2017 (1706.02515): the numbers are the paper's."""
    return _scaled(
        c, elu(c, x, 1.6732632423543772848170429916717), 1.0507009873554804934193349852946
    )


def softplus(c: Context, x: Operand, beta: float = 1.0, threshold: float = 20.0) -> Operand:
    """The part that is 0 at 0, and the constant ln 2 apart from it."""
    if threshold != 20:
        c.refuse(f"turns linear above {threshold}", "only 20 can be compiled")
    rising = c.op("centred_softplus", _scaled(c, x, beta))
    return _scaled(c, _shifted(c, rising, math.log(2)), 1 / beta)


def logsigmoid(c: Context, x: Operand) -> Operand:
    return _scaled(c, softplus(c, _scaled(c, x, -1.0)), -1.0)


def threshold(
    c: Context, x: Operand, threshold: float, value: float, inplace: bool = False
) -> Operand:
    dtype = DTYPES[c.type(x).dtype]
    above = c.op("compare_scalar", x, kind="gt", value=threshold)
    return c.op("where", above, x, c.constant(torch.tensor(value, dtype=dtype)))


def softshrink(c: Context, x: Operand, lambd: float = 0.5) -> Operand:
    ends = (c.op("relu", _shifted(c, _scaled(c, x, sign), -lambd)) for sign in (1.0, -1.0))
    return _difference(c, *ends)


def glu(c: Context, x: Operand, dim: int = -1) -> Operand:
    axis = c.axis(dim, c.type(x).rank)
    half = c.size(x, axis) // 2
    gate = c.op("sigmoid", c.slice(x, axis, half, 2 * half))
    return c.op("mul", c.slice(x, axis, 0, half), gate)


ROWS: dict[str, Any] = {
    "relu": unary("relu"), "relu6": unary("relu6"), "hardtanh": hardtanh, "leaky_relu": leaky_relu,
    "gelu": gelu, "silu": unary("silu"),
    "hardsigmoid": hardsigmoid, "hardswish": unary("hardswish"), "rrelu": rrelu, "prelu": prelu,
    "elu": elu, "celu": celu, "selu": selu, "mish": unary("mish"), "softplus": softplus,
    "log_sigmoid": logsigmoid, "threshold": threshold, "_threshold": threshold,
    "softshrink": softshrink, "glu": glu,
    "dropout": dropout, "dropout1d": dropout, "dropout2d": dropout, "dropout3d": dropout,
    "alpha_dropout": dropout,
    "feature_dropout": dropout,
}  # fmt: skip
