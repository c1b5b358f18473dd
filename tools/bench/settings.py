"""What a run measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tools.bench.encoder import Levels
from tools.bench.offered import Configuration

Table = Mapping[str, Any]


def nowhere(table: Table) -> None:
    """Do not show a table."""


@dataclass(frozen=True)
class Options:
    """The choices of a run; what is None or empty follows from the device. A case says what it is
    doing by `tell`, and gives each table to `show` when it has it. Programs are kept in `store`.
    What has not begun at `until`, by time.perf_counter, is left out. With `short`, a table's first
    composite alone runs in every configuration, the others in the first."""

    device: str
    quick: bool = False
    repeats: int = 5
    levels: Levels = ()
    batch: int = 1
    seeds: int = 4
    vit_batch: int = 2
    composites: tuple[str, ...] = ("attnlrp", "cp_lrp", "gradient_input")
    configurations: tuple[Configuration, ...] = (Configuration("fp32"),)
    torch_compile: bool = False
    against: Path | None = None
    save: Path | None = None
    store: Path | None = None
    until: float = math.inf
    short: bool = False
    tell: Callable[[str], None] = print
    show: Callable[[Table], None] = nowhere

    def ways(self, first: bool) -> tuple[Configuration, ...]:
        """The configurations of a table's first composite, or of the others."""
        return self.configurations if first or not self.short else self.configurations[:1]

    @property
    def gpu(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def gpu_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.gpu else ""


#: Options that follow from the device, and those of a quick run.
GPU: dict[str, Any] = {
    "repeats": 15, "levels": ((100, 100), (50, 50), (25, 25)), "batch": 8, "seeds": 32,
    "vit_batch": 32,
}  # fmt: skip
CPU: dict[str, Any] = {
    "repeats": 5, "levels": ((40, 40), (20, 20), (10, 10)), "batch": 1, "seeds": 8, "vit_batch": 2,
}  # fmt: skip
QUICK: dict[str, Any] = {
    "repeats": 1, "levels": ((8, 8), (4, 4)), "batch": 1, "seeds": 2, "vit_batch": 1,
}  # fmt: skip
