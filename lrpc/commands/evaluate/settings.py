"""How an evaluation is made: everything that its figures depend on, beside models and data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

FILLS = ("mean", "blur")
ORDERS = ("signed", "absolute")


@dataclass(frozen=True)
class Protocol:
    """How patches are taken away and put back: one way to make the curves."""

    order: str = "signed"  # of patches: by the sum of relevance or of its magnitude
    patch: int = 8  # pixels
    fill: str = "mean"  # of what is taken away

    @property
    def name(self) -> str:
        return f"{self.order}, {self.patch} px, {self.fill}"


@dataclass(frozen=True)
class Settings:
    """Which objects take part, and how every method is measured on them."""

    score: float = 0.5  # of a detection
    iou: float = 0.5  # of a detection with its object
    match: str = "mask"
    limit: int = 0  # objects; 0: all
    steps: int = 10  # of each curve
    protocols: tuple[Protocol, ...] = (Protocol(),)
    batch: int = 16
    seed: int = 0


def grid(
    orders: Sequence[str], patches: Sequence[int], fills: Sequence[str]
) -> tuple[Protocol, ...]:
    """Every combination."""
    return tuple(Protocol(*one) for one in product(orders, patches, fills))
