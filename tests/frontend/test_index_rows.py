"""Indices of several axes, of each image, by tensors and masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.held import Apply, hold

INDICES: dict[str, Callable[[Apply, Tensor], Any]] = {
    "x[:, i, j]": lambda m, x: x[:, torch.tensor([0, 2]), torch.tensor([1, 5])] * 2,
    "x[:, i, :, None]": lambda m, x: x[:, [1, 3], :, None].sin(),
    "x[:, idx2d]": lambda m, x: x[:, torch.tensor([[0, 1], [2, -1]])] * 2,
    "x[..., idx]": lambda m, x: x[..., torch.tensor([0, -2])] * 2,
    "x[b, topk]": lambda m, x: x[torch.arange(x.shape[0])[:, None], x[..., 0].topk(2).indices] * 2,
    "x[b, argmax]": lambda m, x: x[torch.arange(x.shape[0]), x[..., 0].argmax(-1)] * 2,
    "x[b, const, topk]": lambda m, x: (
        x[torch.arange(x.shape[0])[:, None], 1, x[:, 0].topk(2).indices] * 2
    ),
    "x[b,:,topk]": lambda m, x: (
        x[torch.arange(x.shape[0])[:, None], :, x[:, 0].topk(2).indices] * 2
    ),
    "x[b,i,j] traced": lambda m, x: (
        x[torch.arange(x.shape[0])[:, None], x[..., 0].topk(2).indices, x[:, 1].topk(2).indices] * 2
    ),
    "x[b, const]": lambda m, x: x[torch.arange(x.shape[0])[:, None], torch.tensor([[0, 2]])] * 2,
    "transposed x[topk, b]": lambda m, x: (
        x.transpose(0, 1)[x[..., 0].argmax(-1), torch.arange(x.shape[0])] * 2
    ),
    "x[:, 0, idx]": lambda m, x: x[:, 0, torch.tensor([3, 1])] * 2,
    "x[:, idx, 0]": lambda m, x: x[:, torch.tensor([3, 1]), 0] * 2,
    "split adv": lambda m, x: (
        x[:, None][:, torch.tensor([0, 0, 0]), :, torch.tensor([3, 1, 2])] * 2
    ),
    "None between": lambda m, x: x[:, torch.tensor([3, 1]), None, torch.tensor([3, 1])] * 2,
    "const mask": lambda m, x: x[:, torch.tensor([True, False, True, True])] * 2,
    "const mask 2d": lambda m, x: x[:, (torch.arange(24) % 3 == 0).reshape(4, 6)] * 2,
    "mask of arange compare": lambda m, x: x[:, torch.arange(4) > 1].sum(1),
    "slice and idx": lambda m, x: x[:, 1:3, torch.tensor([0, 2, 4])] * 2,
    "table": lambda m, x: m.w[(x[..., 0] > 0).long()] * x,
    "table 2 idx": lambda m, x: m.w[(x[..., 0] > 0).long(), (x[..., 1] > 0).long()] + x.sum(-1),
    "0-d idx": lambda m, x: x[:, torch.tensor(2)] * 2,
    "index_select": lambda m, x: x.index_select(1, torch.tensor([2, 0])) * 2,
    "index_select traced": lambda m, x: m.w.index_select(0, (x[:, 0, 0] > 0).long()) * x[:, 0],
    "take_along_dim": lambda m, x: torch.take_along_dim(x, x.topk(2, 1).indices, 1) * 2,
    "gather topk": lambda m, x: x.gather(1, x[..., :1].topk(2, 1).indices.repeat(1, 1, 6)) * 2,
    "b expand": lambda m, x: (
        x[torch.arange(x.shape[0])[:, None].expand(-1, 2), x[..., 0].topk(2).indices] * 2
    ),
    "heads": lambda m, x: (  # rows of each image, as in sampling by rounded places
        x.reshape(-1, 2, 6)[
            torch.arange(2 * x.shape[0])[:, None].repeat(1, 3),
            :,
            x.reshape(-1, 2, 6)[:, 0].topk(3).indices,
        ]
        .sum((1, 2))
        .reshape(-1, 2)
    ),
    "heads, one index": lambda m, x: x.reshape(-1, 6)[
        torch.arange(4 * x.shape[0]), x.reshape(-1, 6).argmax(-1)
    ].reshape(-1, 4),
    "take flat per image": lambda m, x: x.flatten(1)[:, torch.tensor([3, 7])],
}


@pytest.mark.parametrize("name", INDICES)
def test_indices(name: str) -> None:
    hold(Apply(INDICES[name]), (4, 6))
