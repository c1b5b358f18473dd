"""Activations spelled out get their name; what is only alike does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lrpc.frontend import import_model
from lrpc.ir.graph import Module
from passes import Canonicalize, RecogniseActivations
from tests.support.graphs import check_values, rewritten
from tests.support.models import Apply

SLOPE = math.sqrt(2 / math.pi)


def inner(x: Tensor, cubic: float = 0.044715, power: int = 3) -> Tensor:
    return torch.tanh(SLOPE * (x + cubic * torch.pow(x, power)))


SAME: dict[str, tuple[list[str], Callable[[Any, Tensor], Tensor]]] = {
    "swish": (["silu"], lambda m, x: x * torch.sigmoid(x)),
    "swish, other way round": (["silu"], lambda m, x: x.sigmoid() * x),
    "quick gelu": (["scale", "silu", "scale"], lambda m, x: x * torch.sigmoid(1.702 * x)),
    "new gelu": (["gelu"], lambda m, x: 0.5 * x * (1.0 + inner(x))),
    "new gelu, halved last": (["gelu", "scale", "scale"], lambda m, x: x * (1.0 + inner(x)) * 0.5),
    "new gelu, halved gate": (["gelu", "scale"], lambda m, x: 2 * x * (inner(x) + 1)),
    "gelu": (["gelu"], lambda m, x: x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))),
    "gelu, halved gate": (["gelu"], lambda m, x: x * (0.5 * (torch.erf(x * 0.5**0.5) + 1.0))),
    "gelu, not halved": (["gelu", "scale"], lambda m, x: x * (1.0 + torch.erf(x / math.sqrt(2)))),
}
OTHER: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "gated by another": lambda m, x: x * torch.sigmoid(x.flip(1)),
    "a gate of another width": lambda m, x: x * torch.sigmoid(x[..., :1]),
    "a shifted gate": lambda m, x: x * torch.sigmoid(x + 1),
    "a learned slope": lambda m, x: x * torch.sigmoid(m.scale * x),
    "another cube": lambda m, x: 0.5 * x * (1.0 + inner(x, 0.05)),
    "a square": lambda m, x: 0.5 * x * (1.0 + inner(x, power=2)),
    "another width": lambda m, x: 0.5 * x * (1.0 + torch.erf(x)),
    "erf of another": lambda m, x: 0.5 * x * (1.0 + torch.erf((x + 1) / math.sqrt(2.0))),
    "minus one": lambda m, x: 0.5 * x * (inner(x) - 1.0),
    "another factor": lambda m, x: 0.5 * (x + 1) * (1.0 + inner(x)),
}


def imported(function: Callable[[Any, Tensor], Tensor]) -> Module:
    model = Apply(function).double()
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    return Canonicalize().run(import_model(model, {"x": x}).module)


@pytest.mark.parametrize("name", SAME)
def test_spellings(name: str) -> None:
    ops, function = SAME[name]
    before = imported(function)
    after = rewritten(RecogniseActivations(), before)
    assert [node.op for node in after.graph.nodes] == ops
    check_values(before, after)


@pytest.mark.parametrize("name", OTHER)
def test_near_misses_stay_as_they_are(name: str) -> None:
    before = imported(OTHER[name])
    assert rewritten(RecogniseActivations(), before).graph.nodes == before.graph.nodes
