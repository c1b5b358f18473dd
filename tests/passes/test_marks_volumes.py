"""Residuals of video models, whose maps of three axes take windows of depths by constant places."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.ir.parser import parse_graph


class Strided(nn.Module):
    """A block of R3D that halves all axes: the shortcut is a map of every other place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv3d(3, 8, 3, 2, 1), nn.Conv3d(8, 8, 3, 1, 1)
        self.short = nn.Sequential(nn.Conv3d(3, 8, 1, 2, bias=False), nn.BatchNorm3d(8))
        self.norm = nn.BatchNorm3d(8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.b(self.a(x).relu())) + self.short(x)
        return y.relu()


class Pooled(nn.Module):
    """As in MViT v2: a projection whose tokens are pooled, all but the first, beside a transform of
    the pooled tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.project = nn.LayerNorm(3), nn.Linear(3, 8)
        self.pool, self.a, self.b = nn.MaxPool3d(3, 2, 1), nn.Linear(3, 8), nn.Linear(8, 8)

    def pooled(self, x: Tensor) -> Tensor:
        rest = x[:, 1:].transpose(1, 2).unflatten(2, (4, 4, 4))
        return torch.cat([x[:, :1], self.pool(rest).flatten(2).transpose(1, 2)], 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(torch.nn.functional.pad(x.flatten(2).transpose(1, 2), (0, 0, 1, 0)))
        return self.pooled(self.project(tokens)) + self.b(self.a(self.pooled(tokens)).relu())


class Chosen(nn.Module):
    """What values choose is no shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.short = nn.Linear(64, 8), nn.Linear(8, 8), nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)
        places = x.topk(64, -1).indices
        return self.b(self.a(x).relu()) + self.short(x.gather(-1, places))


@pytest.mark.parametrize(
    ("model", "role"), [(Strided, "residual"), (Pooled, "residual"), (Chosen, "merge")]
)
def test_the_sum_of_a_block(model: type[nn.Module], role: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 4, 4, 4)
    program = lrpc.compile(model().eval(), (x,), composite="attnlrp", check=False)
    graph = parse_graph((program.directory / "graph.lrp").read_text())
    assert Counter(n.role for n in graph.nodes if n.op == "add") == {role: 1}
