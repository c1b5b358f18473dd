"""What `lrpc run` expects of a loaded program, and of a detection: structural types only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Size = tuple[int, int]  # (height, width)
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the network's input


class State(Protocol):
    """What `forward` keeps: the outputs, and what relevance needs."""

    @property
    def outputs(self) -> Mapping[str, Tensor]: ...


class Ledger(Protocol):
    """Where relevance went, per seed and image; every tensor is [K, B]. A row is (node, module
    path, kind, amount)."""

    @property
    def start(self) -> Tensor: ...
    @property
    def end(self) -> Tensor: ...
    @property
    def sinks(self) -> Mapping[str, Tensor]: ...
    @property
    def closure(self) -> Tensor: ...
    @property
    def rows(self) -> Sequence[tuple[str, str, str, Tensor]]: ...


class Relevance(Protocol):
    """What `relevance` gives: `input` [K, B, 3, H, W], `layers` name → [K, B, ...], a ledger."""

    @property
    def input(self) -> Tensor: ...
    @property
    def layers(self) -> Mapping[str, Tensor]: ...
    @property
    def ledger(self) -> Ledger | None: ...


class Program(Protocol):
    """A loaded program; keyword arguments that are not wanted are never passed."""

    @property
    def manifest(self) -> Mapping[str, Any]: ...
    def forward(self, *inputs: Tensor, **named: Tensor) -> State: ...
    def at_once(self, target: str, seeds: int, images: int, **options: Any) -> int: ...
    def relevance(self, state: Any, target: str, /, **options: Any) -> Relevance: ...


@dataclass(frozen=True, eq=False)
class Detection:
    """One detected object: its query, class, score, box and mask in the network's input frame, and
    its mask at the size that the image has on disk (None: not kept). A model without masks gives
    none. A class of the `whole` image is of no object in it: its box is all of the image."""

    query: int
    label: int
    score: float
    box: Box
    mask: NDArray[np.bool_] | None  # [H, W]
    original_mask: NDArray[np.bool_] | None = None
    whole: bool = False
