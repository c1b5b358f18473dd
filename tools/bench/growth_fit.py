"""The exponent p of y ≈ c·xᵖ, by least squares in log-log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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
    u, v = np.log(xs), np.log(ys)
    (slope, start), error = np.polyfit(u, v, 1), None
    if len(xs) > 2:
        rest = float(((v - slope * u - start) ** 2).sum())
        error = math.sqrt(rest / (len(xs) - 2) / float(((u - u.mean()) ** 2).sum()))
    return Fit(float(slope), error, min(xs), max(xs))
