"""Rows for activation functions, and for dropout, which does nothing at inference."""

from __future__ import annotations

from typing import Any

from lrpc.frontend.lowering.context import Context, Operand


def relu(c: Context, x: Operand, inplace: bool = False) -> Operand:
    return c.op("relu", x)


def relu6(c: Context, x: Operand, inplace: bool = False) -> Operand:
    return c.op("clamp", x, min=0.0, max=6.0)


def hardtanh(
    c: Context, x: Operand, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Operand:
    return c.op("clamp", x, min=min_val, max=max_val)


def leaky_relu(
    c: Context, x: Operand, negative_slope: float = 0.01, inplace: bool = False
) -> Operand:
    return c.op("leaky_relu", x, slope=negative_slope)


def gelu(c: Context, x: Operand, approximate: str = "none") -> Operand:
    return c.op("gelu", x, approximate=approximate)


def silu(c: Context, x: Operand, inplace: bool = False) -> Operand:
    return c.op("silu", x)


def dropout(
    c: Context, x: Operand, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Operand:
    if training and p:
        c.refuse("is active: it draws random numbers")
    return x


def _activation(inner: str) -> Any:
    def row(c: Context, x: Operand, inplace: bool = False) -> Operand:
        shifted = c.op("clamp", c.op("shift", x, by=3.0), min=0.0, max=6.0)
        gate = c.op("scale", shifted, by=1 / 6)
        return gate if inner == "sigmoid" else c.op("mul", x, gate)

    return row


ROWS: dict[str, Any] = {
    "relu": relu, "relu6": relu6, "hardtanh": hardtanh, "leaky_relu": leaky_relu,
    "gelu": gelu, "silu": silu,
    "hardsigmoid": _activation("sigmoid"), "hardswish": _activation("swish"),
    "dropout": dropout, "dropout1d": dropout, "dropout2d": dropout, "alpha_dropout": dropout,
    "feature_dropout": dropout,
}  # fmt: skip
