"""Quotients (f(x) − f(0)) / x of elementwise functions, and slopes that have no bound near 0."""

from __future__ import annotations

import torch
from torch import Tensor

from lrpc.runtime.kernels.transposes import narrowed, widened


def exp_ratio(x: Tensor) -> Tensor:
    """(exp(x) - 1) / x."""
    return torch.where(x == 0, 1.0, torch.expm1(x) / x)


def log1p_ratio(x: Tensor) -> Tensor:
    """log(1 + x) / x."""
    wide = widened(x)
    return narrowed(torch.where(wide == 0, 1.0, torch.log1p(wide) / wide), x.dtype)


def erf_ratio(x: Tensor) -> Tensor:
    """erf(x) / x, 2/√π at 0."""
    return torch.where(x == 0, 1.1283791670955126, torch.erf(x) / x)


def sin_ratio(x: Tensor) -> Tensor:
    """sin(x) / x."""
    return torch.where(x == 0, 1.0, torch.sin(x) / x)


def cos_ratio(x: Tensor) -> Tensor:
    """(cos(x) - 1) / x = -sin²(x / 2) / (x / 2), without cancellation near 0."""
    half = 0.5 * widened(x)
    sine = torch.sin(half)
    return narrowed(-sine * torch.where(half == 0, 1.0, sine / half), x.dtype)


def clamp_ratio(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """(clamp(x) - clamp(0)) / x, in [0, 1]; 0 at 0 where a bound is there."""
    inside = (min is None or min < 0) and (max is None or max > 0)
    risen = x.clamp(min, max) - x.new_zeros(()).clamp(min, max)
    return torch.where(x == 0, float(inside), risen / x)


def clamp_gate(g: Tensor, x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """g where x is on or between the bounds, 0 elsewhere."""
    return g * (x.clamp(min, max) == x)


def power_gradient(g: Tensor, x: Tensor, exponent: float, by: float) -> Tensor:
    """g times by · x ** (exponent - 1); 0 where x is 0 and that has no bound."""
    wide = widened(x)
    slope = by * wide ** (exponent - 1)
    if exponent < 1:
        slope = slope.masked_fill(wide == 0, 0.0)
    most = torch.finfo(x.dtype).max
    return (widened(g) * slope).clamp(-most, most).to(torch.promote_types(g.dtype, x.dtype))
