"""The exponent p of y ≈ c·xᵖ, by least squares in log-log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fit:
    """An exponent with its standard error (None of two points), and the range it holds for."""

    exponent: float
    error: float | None
    first: float
    last: float

    def to_json(self) -> dict[str, float | None]:
        return {
            "exponent": self.exponent,
            "error": self.error,
            "from": self.first,
            "to": self.last,
        }


def fit(xs: Sequence[float], ys: Sequence[float]) -> Fit | None:
    """The fit through positive points; None where fewer than two different x are given."""
    if len(set(xs)) < 2:
        return None
    u, v = [math.log(x) for x in xs], [math.log(y) for y in ys]
    count, mu, mv = len(u), sum(u) / len(u), sum(v) / len(v)
    spread = sum((a - mu) ** 2 for a in u)
    slope = sum((a - mu) * (b - mv) for a, b in zip(u, v, strict=True)) / spread
    error = None
    if count > 2:
        left = sum((b - mv - slope * (a - mu)) ** 2 for a, b in zip(u, v, strict=True))
        error = math.sqrt(left / (count - 2) / spread)
    return Fit(slope, error, min(xs), max(xs))
