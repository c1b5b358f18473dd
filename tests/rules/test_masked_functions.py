"""Functions of masked numbers: what f(−∞) is belongs to the mask, and the ledger closes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lrpc

Function = Callable[[Tensor], Tensor]

FUNCTIONS: dict[str, Function] = {
    "exp": torch.exp,
    "moved": lambda x: x.transpose(1, 2).exp(),
    "scaled": lambda x: (0.5 * x).exp(),
    "negative": lambda x: torch.sigmoid(-x),
    "tanh behind another": lambda x: F.leaky_relu(x).tanh(),
    "clamp": lambda x: x.clamp(-1, 2),
    "relu": torch.relu,
}


class Masked(nn.Module):
    """A causal mask of differences, as in the decays of a state space model."""

    def __init__(self, function: Function, fill: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function, self.fill, self.linear = function, fill, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        apart = y[:, None, :] - y[:, :, None]
        above = torch.ones(4, 4, dtype=torch.bool).triu(1)
        return self.function(apart.masked_fill(above, self.fill)) @ x[..., None]


@pytest.mark.parametrize("fill", [-math.inf, -3e38], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_masked(name: str, fill: float) -> None:
    model = Masked(FUNCTIONS[name], fill).double().eval()
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    program = lrpc.compile(model, (x,), composite="attnlrp")
    state = program.forward(x)
    found = program.relevance(state, "output", seeds=state.outputs[None], ledger=True)
    assert found.input.isfinite().all()
    assert found.input.any()
    assert float(found.ledger.closure.max()) < 1e-13
