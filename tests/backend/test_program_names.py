"""Names of the user's model become names in a program's text: any of them must do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc

SOURCE = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(4, 3)

    def forward(self, {name}):
        return F.relu(self.line({name}))
"""


def model_with_input(name: str) -> nn.Module:
    scope: dict[str, Any] = {"nn": nn, "F": torch.nn.functional}
    exec(SOURCE.format(name=name), scope)
    torch.manual_seed(0)
    made: nn.Module = scope["Model"]().eval()
    return made


@pytest.mark.parametrize("name", ["w", "s", "p", "saved", "K", "torch", "device", "seed", "read"])
def test_an_input_may_have_a_name_that_programs_use(name: str) -> None:
    model, x = model_with_input(name), torch.randn(2, 4)
    program: Any = lrpc.compile(model, (x,))
    state = program.forward(x)
    torch.testing.assert_close(state.outputs, model(x))
    result = program.relevance(state, "output", at=[(1,)], ledger=True)
    assert list(result.inputs) == [name]
    assert float(result.ledger.closure.max()) < 1e-6


def test_modules_named_by_number() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    x = torch.randn(2, 4)
    program: Any = lrpc.compile(model, (x,))
    state = program.forward(x)
    torch.testing.assert_close(state.outputs, model(x))
    found: Tensor = program.relevance(state, "output", at=[(0,)]).input
    assert found.shape == (1, 2, 4)
