"""What activations multiply relevance by: f(x) / x, its parts at a kink, and the derivative.

Where f(0) is not 0, the ratio is that of f(x) − f(0).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.ir.ops.row import Op
from lrpc.ir.ops.traits import Family
from lrpc.ir.ops.traits import Trait as T


def _gelu_ratio(x: Tensor, approximate: str) -> Tensor:
    if approximate == "none":
        return 0.5 * (1 + torch.erf(x / 2**0.5))
    return 0.5 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


def _sigmoid_ratio(x: Tensor) -> Tensor:
    small = x.abs() < 1e-4
    safe = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, 0.25 - x * x / 48, (torch.sigmoid(safe) - 0.5) / safe)


def _tanh_ratio(x: Tensor) -> Tensor:
    small = x.abs() < 1e-4
    safe = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, 1 - x * x / 3, torch.tanh(safe) / safe)


def _relu6_ratio(x: Tensor) -> Tensor:
    return torch.where(x > 0, torch.clamp(x, 0, 6) / x, torch.zeros_like(x))


def _elu_ratio(x: Tensor) -> Tensor:
    return torch.where(x < 0, torch.expm1(x) / x, torch.ones_like(x))


def _centred_softplus_ratio(x: Tensor) -> Tensor:
    small = x.abs() < 1e-4
    safe = torch.where(small, torch.ones_like(x), x)
    exact = (F.softplus(safe) - math.log(2)) / safe
    return torch.where(small, 0.5 + x / 8 - x**3 / 192, exact)


def _exp_ratio(x: Tensor) -> Tensor:
    zero = x == 0
    return torch.where(zero, 1.0, torch.expm1(x) / torch.where(zero, 1.0, x))


def _log1p_ratio(x: Tensor) -> Tensor:
    zero = x == 0
    return torch.where(zero, 1.0, torch.log1p(x) / torch.where(zero, 1.0, x))


def _erf_ratio(x: Tensor) -> Tensor:
    zero = x == 0
    ratio = torch.erf(x) / torch.where(zero, 1.0, x)
    return torch.where(zero, 2 / math.sqrt(math.pi), ratio)


def _sin_ratio(x: Tensor) -> Tensor:
    zero = x == 0
    return torch.where(zero, 1.0, torch.sin(x) / torch.where(zero, 1.0, x))


def _cos_ratio(x: Tensor) -> Tensor:
    """(cos x − 1) / x."""
    safe = torch.where(x == 0, 1.0, x)
    return torch.where(x == 0, 0.0, -2 * torch.sin(x / 2) ** 2 / safe)


def _clamp_ratio(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    inside = (min is None or min < 0) and (max is None or max > 0)
    zero = torch.zeros_like(x)
    risen = torch.clamp(x, min, max) - torch.clamp(zero, min, max)
    safe = torch.where(x == 0, torch.ones_like(x), x)
    return torch.where(x == 0, float(inside), risen / safe)


def _clamp_gate(g: Tensor, x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    low, high = (-math.inf if min is None else min), (math.inf if max is None else max)
    return torch.where((x >= low) & (x <= high), g, torch.zeros_like(g))


def _power_gradient(g: Tensor, x: Tensor, exponent: float, by: float) -> Tensor:
    slope = by * x.double() ** (exponent - 1)
    most = torch.finfo(x.dtype).max
    unbounded = (x == 0) & (exponent < 1)
    kept = torch.where(unbounded, torch.zeros_like(slope), slope)
    return (g.double() * kept).clamp(-most, most).to(torch.promote_types(g.dtype, x.dtype))


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_none": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu6": F.relu6,
    "elu": F.elu,
    "hardswish": F.hardswish,
    "mish": F.mish,
    "centred_softplus": F.softplus,
}


def _activation_gradient(g: Tensor, x: Tensor, kind: str) -> Tensor:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        total = ACTIVATIONS[kind](leaf).sum()
    return g * torch.autograd.grad(total, leaf)[0]


BOUNDS = {"min": "number?", "max": "number?"}
# Quotients entry by entry, as well computed in the forward half.
SLOPE = T.ELEMENTWISE | T.MOVABLE
ROWS = (
    Op("gate", 2, {}, lambda g, mask: torch.where(mask, g, torch.zeros_like(g)), Family.RELEVANCE,
       T.ALLOCATES | T.ELEMENTWISE),
    Op("leaky_relu_gate", 2, {"slope": "number"},
       lambda g, x, slope: torch.where(x > 0, g, slope * g), Family.RELEVANCE, T.ELEMENTWISE),
    Op("gelu_ratio", 1, {"approximate": "none|tanh"}, _gelu_ratio, Family.QUOTIENT, SLOPE),
    Op("sigmoid_ratio", 1, {}, _sigmoid_ratio, Family.QUOTIENT, SLOPE),
    Op("tanh_ratio", 1, {}, _tanh_ratio, Family.QUOTIENT, SLOPE),
    Op("relu6_ratio", 1, {}, _relu6_ratio, Family.QUOTIENT, SLOPE),
    Op("elu_ratio", 1, {}, _elu_ratio, Family.QUOTIENT, SLOPE),
    Op("hardswish_ratio", 1, {}, lambda x: torch.clamp(x + 3, 0, 6) / 6, Family.QUOTIENT, SLOPE),
    Op("mish_ratio", 1, {}, lambda x: torch.tanh(F.softplus(x)), Family.QUOTIENT, SLOPE),
    Op("centred_softplus_ratio", 1, {}, _centred_softplus_ratio, Family.QUOTIENT, SLOPE),
    Op("abs_ratio", 1, {}, torch.sign, Family.QUOTIENT, SLOPE),
    Op("exp_ratio", 1, {}, _exp_ratio, Family.QUOTIENT, SLOPE),
    Op("log1p_ratio", 1, {}, _log1p_ratio, Family.QUOTIENT, SLOPE),
    Op("erf_ratio", 1, {}, _erf_ratio, Family.QUOTIENT, SLOPE),
    Op("sin_ratio", 1, {}, _sin_ratio, Family.QUOTIENT, SLOPE),
    Op("cos_ratio", 1, {}, _cos_ratio, Family.QUOTIENT, SLOPE),
    Op("clamp_ratio", 1, BOUNDS, _clamp_ratio, Family.QUOTIENT, SLOPE),
    Op("clamp_gate", 2, BOUNDS, _clamp_gate, Family.RELEVANCE, T.ELEMENTWISE),
    Op("power_gradient", 2, {"exponent": "number", "by": "number"}, _power_gradient,
       Family.RELEVANCE, T.ELEMENTWISE),
    Op("activation_gradient", 2, {"kind": "|".join(ACTIVATIONS)}, _activation_gradient,
       Family.RELEVANCE, T.ELEMENTWISE),
)  # fmt: skip
