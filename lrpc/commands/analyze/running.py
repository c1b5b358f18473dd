"""Statistics over images, one image at a time: what batches they came in cannot matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class OneImage:
    """What one image gives for K features and n channels or queries; float64, on the CPU.

    `contribution` is the signed sum over what is not counted (an encoder's tokens, a query's
    channels), `gross` the sum of magnitudes. `activation` is the relevance at the start before it
    is normalised. `start`, `elsewhere` and `sinks` are after it; all but the first two are [K].
    """

    contribution: Tensor  # [K, n]
    gross: Tensor  # [K, n]
    activation: Tensor
    start: Tensor
    elsewhere: Mapping[str, Tensor]
    sinks: Mapping[str, Tensor]
    closure: Tensor


class Running:
    """Means over images, and the spread of the contributions by Welford's method."""

    def __init__(self) -> None:
        self.images = 0
        self._means: dict[str, Tensor] = {}
        self._squares = torch.zeros(())
        self._closure = torch.zeros(())
        self._weakest = torch.zeros(())
        self._weakest_image = torch.zeros((), dtype=torch.int64)

    def add(self, one: OneImage) -> None:
        """Count one more image."""
        self.images += 1
        if self.images == 1:
            self._squares = torch.zeros_like(one.contribution)
            self._closure = torch.zeros_like(one.closure)
            self._weakest = torch.full_like(one.activation, torch.inf)
            self._weakest_image = torch.zeros(one.activation.shape, dtype=torch.int64)
        before = self._mean("contribution", one.contribution)
        after = self._move("contribution", one.contribution)
        self._squares += (one.contribution - before) * (one.contribution - after)
        self._move("absolute", one.contribution.abs())
        self._move("gross", one.gross)
        self._move("activation", one.activation)
        self._move("start", one.start)
        for place, amount in one.elsewhere.items():
            self._move(f"elsewhere {place}", amount)
        for kind, amount in one.sinks.items():
            self._move(f"sink {kind}", amount)
        self._closure = torch.maximum(self._closure, one.closure)
        weaker = one.activation.abs() < self._weakest
        self._weakest = torch.where(weaker, one.activation.abs(), self._weakest)
        self._weakest_image[weaker] = self.images - 1

    def _mean(self, name: str, like: Tensor) -> Tensor:
        return self._means.get(name, torch.zeros_like(like))

    def _move(self, name: str, value: Tensor) -> Tensor:
        mean = self._mean(name, value)
        self._means[name] = mean + (value - mean) / self.images
        return self._means[name]

    def mean(self, name: str) -> Tensor:
        """`contribution`, `absolute`, `gross` [K, n]; `activation`, `start` [K]."""
        return self._means[name]

    def means(self, prefix: str) -> dict[str, Tensor]:
        """Means [K] of `elsewhere` by place, or of each `sink` by kind."""
        start = f"{prefix} "
        return {k[len(start) :]: v for k, v in self._means.items() if k.startswith(start)}

    @property
    def deviation(self) -> Tensor:
        """Standard deviation over the images of the contributions [K, n], divided by n images."""
        return (self._squares / self.images).sqrt()

    @property
    def closure(self) -> Tensor:
        """The worst closure of the ledger among all images [K]."""
        return self._closure

    @property
    def weakest(self) -> tuple[Tensor, Tensor]:
        """The smallest |activation| [K] and the image that it was in [K]."""
        return self._weakest, self._weakest_image
