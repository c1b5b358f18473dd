"""Tokens of the model, the same for every image, that are repeated for windows of the images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import lrpc


class Windows(nn.Module):
    """A token of the model's own goes into each of two windows of an image's tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.randn(1, 1, 4))
        self.places = nn.Parameter(torch.randn(1, 5, 4))
        self.mix, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.own.expand(len(x), -1, -1), x], 1) + self.places  # [B, 5, 4]
        own, rest = tokens[:, :1], tokens[:, 1:].reshape(-1, 2, 4)  # [2·B, 2, 4]
        windows = torch.cat([own.repeat(2, 1, 1), rest], 1)
        windows = windows * torch.relu(self.mix(windows)).sum(1, keepdim=True)
        result: Tensor = self.out(windows.reshape(len(x), -1, 4).sum(1))
        return result


def test_each_image_has_its_own_part_of_the_ledger() -> None:
    """Copies of the token lie in the order of images, though the model repeats all of them."""
    torch.manual_seed(0)
    model = Windows().double().eval()
    program = lrpc.compile(model, (torch.randn(1, 4, 4).double(),), composite="epsilon")
    x = torch.randn(3, 4, 4).double()
    state = program.forward(x)
    torch.testing.assert_close(state.outputs, model(x))
    ledger = program.relevance(state, "output", at=[(1,)], ledger=True).ledger
    assert ledger is not None
    assert float(ledger.closure.max()) < 1e-12
    alone = [
        program.relevance(program.forward(one[None]), "output", at=[(1,)], ledger=True).ledger
        for one in x
    ]
    for name, amounts in ledger.sinks.items():
        expected = torch.cat([one.sinks[name] for one in alone], 1)
        torch.testing.assert_close(amounts, expected, rtol=1e-9, atol=1e-12)
