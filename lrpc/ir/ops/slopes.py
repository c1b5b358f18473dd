"""What activations multiply relevance by: f(x) / x, its parts at a kink, and the derivative.

Where f(0) is not 0, the ratio is that of f(x) − f(0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

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


def _over(function: Callable[[Tensor], Tensor], at_zero: float = 1.0) -> Callable[[Tensor], Tensor]:
    """function(x) / x, and `at_zero` where x is 0."""

    def ratio(x: Tensor) -> Tensor:
        zero = x == 0
        return torch.where(zero, at_zero, function(x) / torch.where(zero, 1.0, x))

    return ratio


def _by_series(
    function: Callable[[Tensor], Tensor], series: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """function(x) / x, and its series near 0, where the function cancels."""

    def ratio(x: Tensor) -> Tensor:
        small = x.abs() < 1e-4
        safe = torch.where(small, torch.ones_like(x), x)
        return torch.where(small, series(x), function(safe) / safe)

    return ratio


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


def _quotient(
    name: str, reference: Callable[..., Tensor], attrs: Mapping[str, str] = MappingProxyType({})
) -> Op:
    """A quotient entry by entry, as well computed in the forward half."""
    return Op(name, 1, attrs, reference, Family.QUOTIENT, T.ELEMENTWISE | T.MOVABLE)


BOUNDS = {"min": "number?", "max": "number?"}
ROWS = (
    Op("gate", 2, {}, lambda g, mask: torch.where(mask, g, torch.zeros_like(g)), Family.RELEVANCE,
       T.ALLOCATES | T.ELEMENTWISE),
    Op("leaky_relu_gate", 2, {"slope": "number"},
       lambda g, x, slope: torch.where(x > 0, g, slope * g), Family.RELEVANCE, T.ELEMENTWISE),
    _quotient("gelu_ratio", _gelu_ratio, {"approximate": "none|tanh"}),
    _quotient("sigmoid_ratio",
              _by_series(lambda x: torch.sigmoid(x) - 0.5, lambda x: 0.25 - x * x / 48)),
    _quotient("tanh_ratio", _by_series(torch.tanh, lambda x: 1 - x * x / 3)),
    _quotient("relu6_ratio",
              lambda x: torch.where(x > 0, torch.clamp(x, 0, 6) / x, torch.zeros_like(x))),
    _quotient("elu_ratio", lambda x: torch.where(x < 0, torch.expm1(x) / x, torch.ones_like(x))),
    _quotient("hardswish_ratio", lambda x: torch.clamp(x + 3, 0, 6) / 6),
    _quotient("mish_ratio", lambda x: torch.tanh(F.softplus(x))),
    _quotient("centred_softplus_ratio",
              _by_series(lambda x: F.softplus(x) - math.log(2),
                         lambda x: 0.5 + x / 8 - x**3 / 192)),
    _quotient("abs_ratio", torch.sign),
    _quotient("exp_ratio", _over(torch.expm1)),
    _quotient("log1p_ratio", _over(torch.log1p)),
    _quotient("erf_ratio", _over(torch.erf, 2 / math.sqrt(math.pi))),
    _quotient("sin_ratio", _over(torch.sin)),
    _quotient("cos_ratio", _over(lambda x: -2 * torch.sin(x / 2) ** 2, 0.0)),  # (cos x − 1) / x
    _quotient("clamp_ratio", _clamp_ratio, BOUNDS),
    Op("clamp_gate", 2, BOUNDS, _clamp_gate, Family.RELEVANCE, T.ELEMENTWISE),
    Op("power_gradient", 2, {"exponent": "number", "by": "number"}, _power_gradient,
       Family.RELEVANCE, T.ELEMENTWISE),
    Op("activation_gradient", 2, {"kind": "|".join(ACTIVATIONS)}, _activation_gradient,
       Family.RELEVANCE, T.ELEMENTWISE),
)  # fmt: skip
