"""Small programs in float64 with and without checkpoints, and whether they give the same."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

import lrpc
from tests.support.deep import deep
from tests.support.networks import small

SEEDS = 4
AT = [(i % 4,) for i in range(SEEDS)]


def model_of(name: str) -> tuple[nn.Module, Tensor]:
    """In float64, so that nothing but an error makes a difference."""
    model, x = deep() if name == "deformable encoder" else small(name)
    return model.double(), x.double()


@functools.cache
def compiled(name: str, composite: str, checkpoint: str = "none", budget: str = "") -> Any:
    """A program under a budget computes what the one without does, which is held against the
    model."""
    model, x = model_of(name)
    return lrpc.compile(
        *(model, (x,)),
        composite=composite,
        seeds=SEEDS,
        checkpoint=checkpoint,
        budget=budget,
        check=checkpoint == "none",
    )


def both(program: Any, x: Tensor, **options: Any) -> Any:
    return program.relevance(program.forward(x), "output", at=AT, ledger=True, **options)


def same(found: Any, expected: Any) -> None:
    """Equal but for the order of float64 sums, the ledger's rows too."""
    for name, value in {**expected.inputs, **expected.layers}.items():
        other = {**found.inputs, **found.layers}[name]
        torch.testing.assert_close(other, value, rtol=1e-10, atol=1e-10 * float(value.abs().max()))
    for a, b in zip(found.ledger.rows, expected.ledger.rows, strict=True):
        assert a[:3] == b[:3]
        torch.testing.assert_close(a[3], b[3], rtol=1e-9, atol=1e-11)
