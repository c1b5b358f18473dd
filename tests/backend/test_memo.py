"""What was compiled before leaves nothing behind in a program."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import lrpc


class Block(nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6, bias=bias), nn.Linear(6, 4, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x).relu())


def model(bias: bool) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*(Block(bias) for _ in range(3)))


@pytest.mark.parametrize("order", [(False, True), (True, False)], ids=str)
def test_models_alike_but_for_what_their_functions_hide(order: tuple[bool, bool]) -> None:
    x = torch.randn(2, 4)
    for bias in order:  # a ledger reads the bias, inside of a function that is called alike
        program = lrpc.compile(model(bias), (x,), composite="epsilon")
        state = program.forward(x)
        found = program.relevance(state, "output", at=[(1,)], ledger=True)
        assert float(found.ledger.closure.max()) < 1e-5
