"""Elementwise ops: arithmetic, activations, comparisons."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.ir.ops.row import Op
from lrpc.ir.types import DTYPES

COMPARISONS = {
    "gt": torch.gt,
    "ge": torch.ge,
    "lt": torch.lt,
    "le": torch.le,
    "eq": torch.eq,
    "ne": torch.ne,
}
LOGIC = {"and": torch.logical_and, "or": torch.logical_or}


def _compare(a: Tensor, b: Tensor, kind: str) -> Tensor:
    return COMPARISONS[kind](a, b)


def _compare_scalar(a: Tensor, kind: str, value: float) -> Tensor:
    return COMPARISONS[kind](a, value)


def _logical(a: Tensor, b: Tensor, kind: str) -> Tensor:
    return LOGIC[kind](a, b)


def _clamp(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    return torch.clamp(x, min, max)


def _leaky(x: Tensor, slope: float) -> Tensor:
    return torch.where(x > 0, x, x * slope)


def _gelu(x: Tensor, approximate: str) -> Tensor:
    return F.gelu(x, approximate=approximate)


def _elu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.expm1(x.clamp(max=0)))


def _hardswish(x: Tensor) -> Tensor:
    return x * torch.clamp(x + 3, 0, 6) / 6


def _centred_softplus(x: Tensor) -> Tensor:
    return F.softplus(x) - math.log(2)


def _masked_fill(x: Tensor, mask: Tensor, value: float) -> Tensor:
    return torch.where(mask, torch.full((), value, dtype=x.dtype, device=x.device), x)


ROWS = (
    Op("add", 2, {}, torch.add, "{0} + {1}", over=("{0}.add_({1})", "{1}.add_({0})")),
    Op("sub", 2, {}, torch.sub, "{0} - {1}", over=("{0}.sub_({1})",)),
    Op("mul", 2, {}, torch.mul, "{0} * {1}", over=("{0}.mul_({1})", "{1}.mul_({0})")),
    Op("div", 2, {}, torch.div, "{0} / {1}", over=("{0}.div_({1})",)),
    Op("scale", 1, {"by": "number"}, lambda x, by: x * by, "{0} * {by}", over=("{0}.mul_({by})",)),
    Op("shift", 1, {"by": "number"}, lambda x, by: x + by, "{0} + {by}", over=("{0}.add_({by})",)),
    Op("reciprocal", 1, {}, torch.reciprocal, "{0}.reciprocal()", over=("{0}.reciprocal_()",)),
    Op(
        "pow",
        1,
        {"exponent": "number"},
        lambda x, exponent: x**exponent,
        "{0} ** {exponent}",
        over=("{0}.pow_({exponent})",),
    ),
    Op("exp", 1, {}, torch.exp, "{0}.exp()", over=("{0}.exp_()",)),
    Op("log", 1, {}, torch.log, "{0}.log()", over=("{0}.log_()",)),
    Op("sqrt", 1, {}, torch.sqrt, "{0}.sqrt()", over=("{0}.sqrt_()",)),
    Op("sin", 1, {}, torch.sin, "{0}.sin()", over=("{0}.sin_()",)),
    Op("cos", 1, {}, torch.cos, "{0}.cos()", over=("{0}.cos_()",)),
    Op("abs", 1, {}, torch.abs, "{0}.abs()", over=("{0}.abs_()",)),
    Op(
        "relu",
        1,
        {},
        lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
        "F.relu({0})",
        over=("{0}.relu_()",),
    ),
    Op(
        "leaky_relu",
        1,
        {"slope": "number"},
        _leaky,
        "F.leaky_relu({0}, {slope})",
        over=("F.leaky_relu({0}, {slope}, inplace=True)",),
    ),
    Op("relu6", 1, {}, lambda x: torch.clamp(x, 0, 6), "F.relu6({0})"),
    Op("elu", 1, {}, _elu, "F.elu({0})"),
    Op("gelu", 1, {"approximate": "none|tanh"}, _gelu, "F.gelu({0}, approximate={approximate})"),
    Op(
        "silu",
        1,
        {},
        lambda x: x * torch.sigmoid(x),
        "F.silu({0})",
        over=("F.silu({0}, inplace=True)",),
    ),
    Op("hardswish", 1, {}, _hardswish, "F.hardswish({0})"),
    Op("mish", 1, {}, lambda x: x * torch.tanh(F.softplus(x)), "F.mish({0})"),
    Op("centred_softplus", 1, {}, _centred_softplus, "F.softplus({0}) - 0.6931471805599453"),
    Op("sigmoid", 1, {}, torch.sigmoid, "{0}.sigmoid()", over=("{0}.sigmoid_()",)),
    Op("tanh", 1, {}, torch.tanh, "{0}.tanh()", over=("{0}.tanh_()",)),
    Op(
        "clamp",
        1,
        {"min": "number?", "max": "number?"},
        _clamp,
        "{0}.clamp({min}, {max})",
        over=("{0}.clamp_({min}, {max})",),
    ),
    Op("detach", 1, {}, lambda x: x.clone(), "{0}"),
    Op("cast", 1, {"dtype": "dtype"}, lambda x, dtype: x.to(DTYPES[dtype]), "{0}.to({dtype})"),
    Op("compare", 2, {"kind": "|".join(COMPARISONS)}, _compare, "torch.{kind:bare}({0}, {1})"),
    Op(
        "compare_scalar",
        1,
        {"kind": "|".join(COMPARISONS), "value": "number"},
        _compare_scalar,
        "torch.{kind:bare}({0}, {value})",
    ),
    Op("logical", 2, {"kind": "|".join(LOGIC)}, _logical, "torch.logical_{kind:bare}({0}, {1})"),
    Op("logical_not", 1, {}, torch.logical_not, "{0}.logical_not()"),
    Op("where", 3, {}, torch.where, "torch.where({0}, {1}, {2})"),
    Op(
        "masked_fill",
        2,
        {"value": "number"},
        _masked_fill,
        "{0}.masked_fill({1}, {value})",
        over=("{0}.masked_fill_({1}, {value})",),
    ),
)
