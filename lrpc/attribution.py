"""What `lrpc.LRPExplainer` answers."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lrpc.errors import ProgramError


@dataclass(frozen=True, eq=False)
class Attribution:
    """The explanation of one output for one input, by one rule.

    Attributes:
        relevance: relevance of the input, shaped like it.
        target: index of the explained output.
        label: its name in `class_names`, or its index.
        output: value of the output, which is where relevance starts.
        rule: name of the rule.
        layers: relevance at the input of each layer, by module path, first layer first.
        sinks: relevance that did not reach the input, by kind (see the ledger).
        closure: remainder of the ledger, relative to its largest entry.
    """

    relevance: Tensor
    target: int
    label: str
    output: float
    rule: str
    layers: Mapping[str, Tensor] = field(repr=False)
    sinks: Mapping[str, float]
    closure: float

    @property
    def total(self) -> float:
        """The sum of the relevance."""
        return float(self.relevance.double().sum())

    @property
    def delta(self) -> float:
        """output − Σ relevance: the sum of the sinks."""
        return self.output - self.total

    def top(self, count: int = 5) -> list[tuple[tuple[int, ...], float]]:
        """The `count` entries of the input with the largest |relevance|: (index, relevance)."""
        if (number := whole(count)) is None or number < 0:
            raise ProgramError(f"count must be a number from 0 up, got {count!r}")
        flat = self.relevance.flatten()
        order = flat.abs().argsort(descending=True, stable=True)[:count]
        places = torch.unravel_index(order, self.relevance.shape)
        return [
            (tuple(int(axis[i]) for axis in places), float(flat[order[i]]))
            for i in range(len(order))
        ]


def whole(value: Any) -> int | None:
    """An integer of Python, numpy or torch; None for all else, truth values included."""
    if isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool"):
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None
