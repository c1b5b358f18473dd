"""Where entries are equally large: who takes the relevance of the largest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lrpc

X = torch.tensor([[1.0, 3.0, 3.0, 3.0], [2.0, 2.0, 1.0, 0.0]])
Function = Callable[[Tensor], Tensor]


class Takes(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x * 1)


TIES: dict[str, tuple[Function, list[list[float]]]] = {
    "max(dim)": (lambda x: x.max(-1).values[:, None], [[0, 1, 1, 1], [1, 1, 0, 0]]),
    "amax": (lambda x: x.amax(-1)[:, None], [[0, 1, 1, 1], [1, 1, 0, 0]]),
    "maximum": (lambda x: torch.maximum(x[:, :1] + 2, x[:, 1:2]), [[1, 0, 0, 0], [2, 0, 0, 0]]),
    "minimum": (lambda x: torch.minimum(x[:, 1:2], x[:, 2:3]), [[0, 3, 0, 0], [0, 0, 1, 0]]),
    "max pooling": (
        lambda x: F.max_pool2d(x.reshape(-1, 1, 2, 2), 2).flatten(1), [[0, 3, 0, 0], [2, 0, 0, 0]]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TIES)
def test_ties(name: str) -> None:
    function, expected = TIES[name]
    program = lrpc.compile(Takes(function), (X,), composite="gradient_input")
    found = program.relevance(program.forward(X), "output", at=[(0,)])
    assert found.input[0].tolist() == expected
