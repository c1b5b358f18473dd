"""The least work: floating-point operations and memory traffic, over what the machine can do.

Counted is what the layers need with library operations: every product, normalisation and sampling
reads its operands and writes its result once; additions and activations ride along with them.
Relevance is that of one seed, carried per unit of activation, with attention weights and sampling
offsets constant: rules that follow them too do more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from lrpc.commands.bench.tf32 import matmuls
from lrpc.commands.bench.timing import Timed, interleaved


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
    """What the machine reaches: operations per second in large matrix products, of float32 (TF32
    where it may be) and of bfloat16 (0: not measured); bytes per second, read and written, in
    copying."""

    matmul: float
    copy: float
    half: float = 0.0

    def seconds(self, work: Work, half: bool = False) -> float | None:
        """The floor of `work`, of bfloat16 where it is `half`: the slower of computing and moving.
        None where the rate was not measured."""
        width, rate = (2, self.half) if half else (4, self.matmul)
        return None if not rate else max(work.operations / rate, work.numbers * width / self.copy)

    def to_json(self) -> dict[str, float]:
        return {"matmul_flops": self.matmul, "copy_bytes": self.copy, "half_flops": self.half}


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


def ceilings(device: str, tf32: bool = False, quick: bool = False) -> Ceilings:
    """Measured here: matrix products and a copy, the lower quartile of a few."""
    gpu = device.startswith("cuda")
    rows, count = (256, 2**20) if quick else (52_500, 2**28) if gpu else (4_096, 2**24)
    source = torch.zeros(count, device=device)
    target = torch.empty_like(source)
    calls: dict[str, Timed] = {"copy": lambda: target.copy_(source)}
    for dtype in (torch.float32, torch.bfloat16)[: 1 + gpu]:
        a, b = (torch.randn(n, 1024, device=device, dtype=dtype) for n in (rows, 1024))
        out = torch.empty(rows, 1024, device=device, dtype=dtype)
        calls[str(dtype)] = partial(torch.matmul, a, b, out=out)
    with matmuls(tf32):
        found = interleaved(calls, 7, device, warmups=2)
    work = 2 * rows * 1024**2
    half = work / found["torch.bfloat16"].low if gpu else 0.0
    return Ceilings(work / found["torch.float32"].low, 2 * 4 * count / found["copy"].low, half)
