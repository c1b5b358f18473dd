"""Operands that repeat in short runs are repeated before they are used; others are not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.backend.broadcast import MANY, repeated
from lrpc.ir.types import Dim, TensorType
from lrpc.runtime.kernels.broadcasts import in_runs

LARGE = MANY // 16


@pytest.mark.parametrize(
    ("own", "other", "last"),
    [
        ((1, 1, 3, 1, 2), (LARGE, 8, 3, 4, 2), (3, 4, 2)),
        ((LARGE, 1, 3, 1, 2), (LARGE, 8, 3, 4, 2), (3, 4, 2)),
        ((3, 1, 2), (LARGE, 8, 3, 4, 2), (3, 4, 2)),
        ((LARGE, 8, 3, 4, 2), (1, 1, 3, 1, 2), ()),  # all of the result
        ((32, 1), (LARGE, 32, 4), (32, 4)),
        ((8, 1), (LARGE, 8, 4), (8, 4)),
        ((1, 16), (LARGE, 4, 16), ()),  # runs of 16
        ((1,), (LARGE, 4, 16), ()),
        ((4,), (LARGE, 16, 4), ()),  # it has no more axes to repeat
        ((1, 1, 3, 1, 2), (8, 8, 3, 4, 2), ()),  # little to do
    ],
)
def test_which_axes(own: tuple[Dim, ...], other: tuple[Dim, ...], last: tuple[int, ...]) -> None:
    kinds = [TensorType("f32", shape) for shape in (own, other)]
    assert repeated(kinds[0], kinds) == last
    if last:
        x, y = (torch.randn(tuple(map(int, shape))) for shape in (own, other))
        torch.testing.assert_close(in_runs(x, *last) * y, x * y, rtol=0, atol=0)


class Placed(nn.Module):
    """Offsets in the units of levels, from reference points."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.sizes = nn.Parameter(torch.rand(levels, 1, 2) + 1)
        self.points = nn.Parameter(torch.rand(1, 640, 1, levels, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(-1, (8, self.sizes.shape[0], 4, 2))
        return ((x / self.sizes + self.points) * self.sizes - self.points).flatten(2)


def test_programs_repeat_them() -> None:
    """Layers of other levels repeat to other axes, so that they share no text."""
    model = nn.Sequential(Placed(3), nn.Linear(192, 128), Placed(2)).eval()
    x = torch.randn(2, 640, 192)
    program = lrpc.compile(model, (x,), composite="gradient_input")
    text = (program.directory / "program.py").read_text()
    assert "in_runs(" in text
    leaf = x.clone().requires_grad_(True)
    out = model(leaf)
    torch.testing.assert_close(program.forward(x).outputs, out)
    (gradient,) = torch.autograd.grad(out[:, 3, 1].sum(), leaf)
    found = program.relevance(program.forward(x), "output", at=[(3, 1)]).input[0]
    torch.testing.assert_close(found, x * gradient)
