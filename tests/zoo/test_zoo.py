"""Small models of transformers, torchvision and timm: outputs, gradient, and the ledger.

All of them are slow; a handful is not. docs/supported-models.md holds what comes of each.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.zoo.packages import PACKAGES
from tests.zoo.rows import read_rows, scanned_row
from tests.zoo.scan import autograd
from tools.make_models import PAGE, page

FAST = {
    *(("transformers", name) for name in ("ViT", "SegFormer", "GPT-2", "Llama")),
    *(("torchvision", name) for name in ("RegNet Y", "MViT", "Video Swin")),
    *(("timm", name) for name in ("ViT", "gMLP")),
}
EVERY = [(package, name) for package, models in PACKAGES.items() for name in models]


@pytest.mark.parametrize(
    ("package", "name"),
    [pytest.param(*key, marks=() if key in FAST else pytest.mark.slow) for key in EVERY],
)
def test_a_model(package: str, name: str) -> None:
    row, refused = scanned_row(package, name), PACKAGES[package][name].refused
    if refused:
        assert row.refused.startswith(refused)
    else:
        assert row.holds, row


def test_the_page_is_what_the_stored_rows_say() -> None:
    rows = read_rows()
    assert PAGE.read_text() == page(rows)
    assert [(row.package, row.model) for row in rows] == EVERY


def test_what_is_stored_holds_but_for_what_is_known_to_be_refused() -> None:
    for row in read_rows():
        refused = PACKAGES[row.package][row.model].refused
        assert row.holds or (refused and row.refused.startswith(refused)), row


def test_tokens_take_the_gradient_of_their_rows() -> None:
    """The reference for models of tokens, against a sum written out."""

    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.rows = nn.Embedding(5, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.rows(x).sin().sum((1, 2))

    model, x = Summed().requires_grad_(False), torch.tensor([[1, 2, 2], [0, 4, 1]])
    rows = model.rows.weight[x]
    found, _ = autograd(model, x, torch.tensor([2.0, -1.0], dtype=torch.float64))
    scale = torch.tensor([[[2.0]], [[-1.0]]])
    torch.testing.assert_close(found, (scale * rows * rows.cos()).sum(-1))
