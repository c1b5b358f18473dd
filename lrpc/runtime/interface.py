"""What a generated program hands to its runtime, and what one call asks of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lrpc.runtime.conditions import Conditions
from lrpc.runtime.limits import Split
from lrpc.runtime.seeds import Target
from lrpc.runtime.sizes import sizes_of


@dataclass(frozen=True)
class Interface:
    """What the generated part of a program hands to the fixed part."""

    forward: Callable[..., dict[str, Tensor]]
    inputs: Mapping[str, tuple[str, tuple[int | str, ...]]]
    blocks: tuple[str, ...]
    targets: Mapping[str, Target]
    read_inputs: Mapping[str, str]
    structure: Any
    dtype: torch.dtype
    tf32: bool
    chunk: int
    others: Mapping[str, Mapping[str, Target]] = field(default_factory=dict)  # by composite
    sizes: Mapping[str, int] = field(default_factory=dict)  # the step of each that varies
    of_sizes: Callable[..., list[Tensor]] | None = None  # what depends on them alone
    per_pass: int = 0  # where relevance computes parts of the forward pass again: seeds at once

    def sizes_of(self, inputs: Mapping[str, Tensor]) -> dict[str, int]:
        """The sizes of inputs that vary."""
        return sizes_of(self.inputs, inputs, self.sizes)

    def made_of(
        self, weights: Mapping[str, Tensor], sizes: Mapping[str, int], device: torch.device
    ) -> list[Tensor]:
        """What the forward pass takes after its inputs: what depends on their sizes alone."""
        if self.of_sizes is None:
            return []
        return self.of_sizes(weights, *(sizes[name] for name in self.sizes), device)


class OfSizes:
    """What depends on the sizes of inputs alone, computed once for those of the last call."""

    def __init__(self) -> None:
        self.last: tuple[Mapping[str, int], list[Tensor]] = ({}, [])

    def __call__(
        self,
        interface: Interface,
        weights: Mapping[str, Tensor],
        inputs: Mapping[str, Tensor],
        device: torch.device,
    ) -> list[Tensor]:
        """It, for these inputs; in the order in which the forward pass takes it."""
        (known, found), sizes = self.last, interface.sizes_of(inputs)
        if known != sizes:
            found = interface.made_of(weights, sizes, device)
            self.last = (sizes, found)
        return found


@dataclass(frozen=True)
class Request:
    """One request to a program: a target under a composite, what is wanted of it, and how it
    runs."""

    composite: str
    name: str
    target: Target
    token: int | None
    norm: str
    places: frozenset[str]
    ledger: bool
    total: bool
    split: Split
    conditions: Conditions
