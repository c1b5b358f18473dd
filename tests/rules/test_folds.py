"""Axes that hold several entries of every image: the ledger books them for their own image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.rules.folds import images_last
from lrpc.runtime.ledgers import inner
from tests.support.graphs import module


class Folded(nn.Module):
    """Linear maps of tokens [B, T, C] folded into the batch, in front of it or behind."""

    def __init__(self, images_last: bool) -> None:
        super().__init__()
        self.images_last = images_last
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        images, tokens, _ = x.shape
        turned = x.transpose(0, 1) if self.images_last else x
        rows = self.second(self.first(turned.reshape(images * tokens, -1)).relu())
        back = (
            rows.reshape(tokens, images, -1) if self.images_last else rows.view(images, tokens, -1)
        )
        out: Tensor = back.mean(0 if self.images_last else 1)
        return out


@pytest.mark.parametrize("images_last", [True, False])
def test_every_image_has_its_own_ledger(images_last: bool) -> None:
    torch.manual_seed(0)
    model = Folded(images_last).double().eval()
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    program = lrpc.compile(model, (x,), epsilon=0.1)
    found = program.relevance(program.forward(x), "output", at=[(0,), (2,)], ledger=True)
    assert found.ledger.closure.shape == (2, 3)
    assert float(found.ledger.closure.max()) < 1e-12
    assert max(float(v.max()) for v in found.ledger.node_closure().values()) < 1e-12
    for i in range(3):
        alone = program.relevance(program.forward(x[i : i + 1]), "output", at=[(0,)], ledger=True)
        for kind in ("bias", "epsilon"):
            torch.testing.assert_close(
                alone.ledger.sinks[kind][0, 0], found.ledger.sinks[kind][0, i]
            )


def test_which_counts_faster() -> None:
    text = """
    graph @g(%x: f64[B,5,4], %y: f64[5,B,4]) {
      %a: f64[5*B,4] = reshape(%x) {shape=[5*B,4]}
      %b: f64[5*B,4] = reshape(%y) {shape=[5*B,4]}
      %c: f64[5*B,4] = relu(%b)
      %d: f64[5,B,4] = reshape(%c) {shape=[5,B,4]}
      %e: f64[5,2*B,2] = reshape(%y) {shape=[5,2*B,2]}
      %f: f64[10*B,2] = reshape(%e) {shape=[10*B,2]}
      return "a" %a, "d" %d, "f" %f
    }
    """
    assert images_last(module(text).graph) == {"b", "c", "f"}


@pytest.mark.parametrize("fold", [1, 4, -4])
def test_inner_sums_for_each_image(fold: int) -> None:
    torch.manual_seed(0)
    seeds, images, entries, width = 2, 3, abs(fold), 5
    a, b = (torch.randn(seeds, images, entries, width) for _ in range(2))
    a[0, 1, 0, 2], b[:, 1, 0, 2] = 0.0, -torch.inf
    a[1, 1, 0, 2] = 0.0
    expected = torch.zeros(seeds, images, dtype=torch.float64)
    for k in range(seeds):
        for i in range(images):
            pairs = zip(a[k, i].flatten().tolist(), b[k, i].flatten().tolist(), strict=True)
            expected[k, i] = sum(one * other for one, other in pairs if one)

    def laid(x: Tensor) -> Tensor:
        turned = x.transpose(1, 2) if fold < 0 else x
        return turned.reshape(seeds, images * entries, width)

    torch.testing.assert_close(inner(laid(a), laid(b), 1, fold), expected)
