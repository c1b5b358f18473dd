"""The least work: floating-point operations and memory traffic, over what the machine can do.

Counted is what the layers need with library operations: every product, normalisation and sampling
reads its operands and writes its result once; additions and activations ride along with them.
Relevance is that of one seed, carried per unit of activation, with attention weights and sampling
offsets constant: rules that follow them too do more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lrpc.bench.tf32 import matmuls
from lrpc.bench.timing import interleaved


@dataclass(frozen=True)
class Work:
    """Floating-point operations, and numbers read or written."""

    operations: float
    numbers: float

    def times(self, count: float) -> Work:
        return Work(self.operations * count, self.numbers * count)

    def plus(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.numbers + other.numbers)


@dataclass(frozen=True)
class Ceilings:
    """What the machine reaches: operations per second in large matrix products, bytes per second
    read and written in copying."""

    matmul: float
    copy: float

    def seconds(self, work: Work, width: int = 4) -> float:
        """The floor of `work` on numbers of `width` bytes: the slower of computing and moving."""
        return max(work.operations / self.matmul, work.numbers * width / self.copy)

    def to_json(self) -> dict[str, float]:
        return {"matmul_flops": self.matmul, "copy_bytes": self.copy}


def encoder_forward(
    tokens: int, width: int, ffn: int, heads: int, levels: int, points: int
) -> Work:
    """One image through one deformable encoder layer:
    4NC² + 6NC·HLP + 4NC·F + 8N·LP·C operations."""
    places = heads * levels * points
    operations = 4 * tokens * width**2 + 6 * tokens * width * places
    operations += 4 * tokens * width * ffn + 8 * tokens * levels * points * width
    own, hidden = tokens * width, tokens * ffn
    return Work(operations, 15 * own + 2 * hidden + 6 * tokens * places)


def encoder_relevance(
    tokens: int, width: int, ffn: int, heads: int, levels: int, points: int
) -> Work:
    """One seed of one image back through the same layer: as the forward pass, but for the queries'
    projections."""
    places = heads * levels * points
    operations = 4 * tokens * width**2 + 4 * tokens * width * ffn
    operations += 8 * tokens * levels * points * width
    own, hidden = tokens * width, tokens * ffn
    return Work(operations, 14 * own + 2 * hidden + 3 * tokens * places)


def vit_forward(tokens: int, width: int, ffn: int, patch: int) -> Work:
    """One image through one transformer layer; `patch` numbers in each token's patch, which the
    first layer alone reads."""
    operations = 8 * tokens * width**2 + 4 * tokens**2 * width + 4 * tokens * width * ffn
    first = Work(2 * tokens * width * patch, tokens * (patch + width)) if patch else Work(0, 0)
    return Work(operations, 18 * tokens * width + 2 * tokens * ffn).plus(first)


def vit_relevance(tokens: int, width: int, ffn: int, patch: int) -> Work:
    """One seed of one image back through the same layer, through scores and values."""
    operations = 8 * tokens * width**2 + 8 * tokens**2 * width + 4 * tokens * width * ffn
    first = Work(2 * tokens * width * patch, tokens * (patch + width)) if patch else Work(0, 0)
    return Work(operations, 22 * tokens * width + 3 * tokens * ffn).plus(first)


def ceilings(device: str, dtype: torch.dtype = torch.float32, tf32: bool = False) -> Ceilings:
    """Measured here: a matrix product of an encoder's shape and a copy, the best of a few."""
    gpu = device.startswith("cuda")
    rows, count = (52_500, 2**28) if gpu else (4_096, 2**24)
    a = torch.randn(rows, 1024, device=device, dtype=dtype)
    b = torch.randn(1024, 1024, device=device, dtype=dtype)
    out = torch.empty(rows, 1024, device=device, dtype=dtype)
    source = torch.zeros(count, device=device)
    target = torch.empty_like(source)
    calls: dict[str, Callable[[], object]] = {
        "matmul": lambda: torch.matmul(a, b, out=out),
        "copy": lambda: target.copy_(source),
    }
    with matmuls(tf32):
        found = interleaved(calls, 7, device, warmups=2)
    matmul, copy = (found[name].low for name in ("matmul", "copy"))
    return Ceilings(2 * rows * 1024**2 / matmul, 2 * 4 * count / copy)
