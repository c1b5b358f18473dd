"""Calls whose arguments a row must read: orders, options, ties, and axes of the batch."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.errors import LrpcError
from lrpc.frontend import import_model
from tests.frontend.test_rows import check, random
from tests.support.models import Apply

STATISTICS = tuple(random(4).abs() + i for i in range(4))  # weight, bias, mean, variance
TABLE = random(5, 3)

Function = Callable[[Any, Tensor], Any]
RIGHT: dict[str, Function] = {
    "torch.batch_norm": lambda m, x: torch.batch_norm(x, *STATISTICS, False, 0.1, 1e-3, False),
    "torch.instance_norm": lambda m, x: [
        torch.instance_norm(x, *STATISTICS[:2], None, None, True, 0.1, 1e-3, False),
        torch.instance_norm(x, *STATISTICS, False, 0.1, 1e-3, False),
    ],
    "torch.embedding": lambda m, x: torch.embedding(TABLE, (x > 0).long()),
    "NumPy's names": lambda m, x: [
        x.sum(axis=1), torch.mean(x, axis=-1, keepdims=True), torch.mul(x, other=x),
        torch.cat([x, x], axis=1), torch.topk(x, 2, out=None)[0],
    ],
    "the first of equals": lambda m, x: [
        (x > 0).long().argmax(-1), x.relu().argmax(1), x.relu().max(-1).indices,
        *x.clamp(max=0).min(1), torch.argmin(x.relu(), -1, keepdim=True),
    ],
    "sorted whole numbers": lambda m, x: [
        *(3 * x).long().sort(-1), *(2 * x).long().sort(1, descending=True), *(x > 0).sort(-1),
    ],
    "sorted values": lambda m, x: [x.sort(1)[0], x.relu().sort(-1, descending=True).values],
    "take_along_dim": lambda m, x: torch.take_along_dim(x, torch.tensor([[[0], [2], [1], [5]]]), 2),
    "where, as a method and as a function": lambda m, x: [
        x.where(x > 0, x.exp()), torch.where(x > 0, x, x.exp()), x.where(x > 0, 2.0),
        torch.full_like(x, 3.0).where(x > 0, x),
    ],
    "numbers that nobody has set": lambda m, x: torch.empty_like(x).fill_(2.0) * x,
    "a traced fill": lambda m, x: x.clone().fill_(3) + x,
    "powers that a module holds": lambda m, x: [
        x.abs() ** m.b[3:], x.abs().pow(m.b[-1]), x ** torch.full((6,), 2.0),
        x.abs() ** m.scale[None, 2:3],
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_is_right_for_any_batch(name: str) -> None:
    check(Apply(RIGHT[name]), (4, 6))


PLACES = "where gives places whose number depends on the data; multiply by the mask instead"


def _places_before(m: Apply, x: Tensor) -> Tensor:
    mask, y = x > 0, x * 2
    places = torch.where(mask)
    mask[:, 0] = True
    y[places] = 0.0
    return y


REFUSED: dict[str, tuple[Function, str]] = {
    "images moved": (
        lambda m, x: x.reshape(24, -1),
        "reshape spreads what belongs to an image over others; keep the batch axis apart",
    ),
    "fewer images": (
        lambda m, x: torch.gather(x, 2, torch.zeros(1, 4, 2, dtype=torch.long)),
        "gather works along the batch axis (B)",
    ),
    "products of images": (
        lambda m, x: x.flatten(1).T @ x.flatten(1), "matmul works along the batch axis (B)",
    ),
    "sums of images": (
        lambda m, x: torch.einsum("bij,bkj->ik", x, x), "einsum works along the batch axis (B)",
    ),
    "normalised images": (
        lambda m, x: F.layer_norm(x, x.shape),
        "layer_norm works along the batch axis (B)",
    ),
    "attention between images": (
        lambda m, x: F.scaled_dot_product_attention(*[x.transpose(0, 1)] * 3),
        "scaled_dot_product_attention works along the batch axis (B)",
    ),
    "attention over all tokens": (
        lambda m, x: F.scaled_dot_product_attention(*[x.reshape(-1, 6)] * 3).reshape(x.shape),
        "scaled_dot_product_attention works along the batch axis (4*B)",
    ),
    "a group of images": (
        lambda m, x: F.group_norm(x.reshape(1, -1, 6), 1).reshape(x.shape),
        "group_norm works along the batch axis (4*B)",
    ),
    "a window over images": (
        lambda m, x: F.avg_pool1d(x.reshape(-1, 6).mT[None], 3, 1, 1)[0].mT.reshape(x.shape),
        "avg_pool1d works along the batch axis (4*B)",
    ),
    "a kernel over images": (
        lambda m, x: F.conv1d(x.permute(1, 2, 0), torch.ones(6, 6, 3, dtype=x.dtype), padding=1),
        "conv1d works along the batch axis (B)",
    ),
    "resized over images": (
        lambda m, x: F.interpolate(x.permute(1, 2, 0)[..., None], scale_factor=(1, 2)).sum(-1),
        "interpolate works along the batch axis (B)",
    ),
    "places": (
        lambda m, x: torch.where(x > 0)[0],
        PLACES,
    ),
    "places of a mask that has changed": (_places_before, PLACES),
    "the largest of all images": (
        lambda m, x: x / x.max(),
        "max reduces over the batch axis, so that images would not be independent",
    ),
    "whole powers": (
        lambda m, x: 2 ** (x > 0).long(),
        "rpow raises a traced tensor, or whole numbers, to a traced power",
    ),
    "powers that differ": (
        lambda m, x: x.abs() ** m.scale,
        "pow raises a tensor to powers that differ; raise parts of it, each to one power",
    ),
    "an empty output": (
        lambda m, x: x[:, 4:], "getitem gives an empty tensor, f64[B,0,6], which the model returns",
    ),
    "a loss": (
        lambda m, x: F.mse_loss(x, x * 2),
        "torch.nn.functional.mse_loss has no rule yet; "
        "a loss is no part of an explanation: return the outputs that it takes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_its_place(name: str) -> None:
    function, reason = REFUSED[name]
    what, _, remedy = reason.partition("; ")
    end = f"; {remedy}" if remedy else ""
    with pytest.raises(LrpcError) as error:
        import_model(Apply(function), {"x": random(2, 4, 6)})
    text = re.sub(r"\.py:\d+", ".py:LINE", str(error.value))
    assert text == f"{what}, at tests/frontend/test_calls.py:LINE{end}"


def test_a_learned_exponent_of_one_number_is_fixed() -> None:
    class Pools(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p = nn.Parameter(torch.tensor([3.0]))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = x.clamp(min=1e-3).pow(self.p).mean(-1).pow(1 / self.p)
            return y

    check(Pools(), (4, 6))


def test_tokens_first_where_images_are() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(6, 2, batch_first=False)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.attention(x, x, x, need_weights=False)[0]
            return y

    with pytest.raises(LrpcError, match=r"works along the batch axis \(B\), at attention, "):
        import_model(Attends().eval(), {"x": torch.ones(2, 4, 6)})
