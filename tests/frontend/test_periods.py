"""At how many sizes a model is traced until its numbers are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lrpc.frontend
from lrpc.frontend import import_model
from lrpc.frontend.batch import NotOneProgram
from lrpc.ir.printer import print_graph

EXAMPLE = {"H": 64, "W": 96}


class Cells(nn.Module):
    """Means over whole squares of `side` cells, to which a map of a quarter of the image is padded
    if need be."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.stem, self.side = nn.Conv2d(3, 2, 4, 4), side

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        height, width = y.shape[-2:]
        y = F.pad(y, (0, -width % self.side, 0, -height % self.side))
        return F.avg_pool2d(y, self.side).relu().mean((2, 3))


def traced(side: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[tuple[int, ...]], Any]:
    """By how many steps the sizes of all traces are longer than the example, and the program."""
    points: list[tuple[int, ...]] = []
    at_sizes = lrpc.frontend._at_sizes

    def counted(call: Any, point: Mapping[str, int], *rest: Any) -> Any:
        points.append(tuple((point[name] - own) // 32 for name, own in EXAMPLE.items()))
        return at_sizes(call, point, *rest)

    monkeypatch.setattr(lrpc.frontend, "_at_sizes", counted)
    x = torch.zeros(1, 3, *EXAMPLE.values())
    dynamic = {"x": {2: "H", 3: "W"}}
    return points, import_model(Cells(side).eval(), {"x": x}, dynamic=dynamic)


@pytest.mark.parametrize(("side", "period"), [(7, 14), (12, 12)])
def test_choices_of_sizes_are_not_tried_for_a_period_that_one_size_refutes(
    side: int, period: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, _ = traced(side, monkeypatch)
    both = [p for p in points if min(p) > 0 and p[0] != p[1]]  # besides sizes that check
    assert sorted(both) == [(1, 2), (2, 1)]
    assert len(points) == len(set(points))
    assert max(p[0] for p in points if not p[1]) == period


def test_a_period_that_is_none_of_those_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotOneProgram, match="not the same for all sizes"):
        traced(40, monkeypatch)  # cells of 160 pixels


def test_choices_of_sizes_are_tried_for_a_period_that_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points, imported = traced(32, monkeypatch)  # cells of 128 pixels
    assert {(m, n) for m in range(5) for n in range(5)} - {(0, 0)} <= set(points)
    assert "((H+96)//128)" in print_graph(imported.module.graph)
