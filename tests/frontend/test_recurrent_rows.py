"""Recurrent layers, unrolled, and attention that is taken apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.held import Apply, hold

SHAPE = (5, 6)
Layer = Callable[..., nn.Module]
LAYERS: dict[str, Layer] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
USES: dict[str, tuple[Callable[[Apply, Tensor], Any], dict[str, Any]]] = {
    "last": (lambda m, x: m.r(x)[0][:, -1], {"batch_first": True}),
    "time first": (lambda m, x: m.r(x.transpose(0, 1))[0], {}),
    "two ways": (lambda m, x: m.r(x)[0],
                 {"num_layers": 2, "batch_first": True, "bidirectional": True}),
    "state": (lambda m, x: m.r(x)[1], {"bias": False, "batch_first": True}),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", LAYERS)
def test_layers(kind: str, use: str) -> None:
    function, options = USES[use]
    hold(Apply(function, r=LAYERS[kind](6, 4, **options)), SHAPE)


def given_state(m: Apply, x: Tensor) -> Any:
    first = x[:, :1].transpose(0, 1)
    return m.r(x, (first[..., :4].contiguous(), first[..., 2:].contiguous()))[0]


def loop(m: Apply, x: Tensor) -> Tensor:
    h = c = x.new_zeros(x.shape[0], 4)
    out = x.new_zeros(x.shape[0], 5, 4)
    for t in range(5):
        h, c = m.r(x[:, t], (h, c))
        out[:, t] = h
    return out


def under(m: Apply, x: Tensor) -> Tensor:
    turned = x.transpose(0, 1)
    hidden = torch.ones(5, 5).triu(1).bool()
    out: Tensor = m.r(turned, turned, turned, attn_mask=hidden)[0]
    return out


def numbers(m: Apply, x: Tensor) -> Tensor:
    added = torch.linspace(-1, 1, 25, dtype=x.dtype).reshape(5, 5)
    out: Tensor = m.r(x, x, x, attn_mask=added)[0]
    return out


def attention(**options: Any) -> nn.Module:
    return nn.MultiheadAttention(6, 2, **{"batch_first": True, **options})


ONES: dict[str, tuple[Callable[[], nn.Module], Callable[[Apply, Tensor], Any]]] = {
    "ReLU": (lambda: nn.RNN(6, 4, nonlinearity="relu", batch_first=True), lambda m, x: m.r(x)[0]),
    "given state": (lambda: nn.LSTM(6, 4, batch_first=True), given_state),
    "projection": (lambda: nn.LSTM(6, 4, proj_size=2, batch_first=True), lambda m, x: m.r(x)[0]),
    "LSTM cell": (lambda: nn.LSTMCell(6, 4), lambda m, x: m.r(x[:, 0])[0]),
    "GRU cell": (lambda: nn.GRUCell(6, 4), lambda m, x: m.r(x[:, 0], x[:, 1, :4])),
    "RNN cell": (lambda: nn.RNNCell(6, 4), lambda m, x: m.r(x[:, 0])),
    "loop over a cell": (lambda: nn.LSTMCell(6, 4), loop),
    "weights": (attention, lambda m, x: m.r(x, x, x)[1] * 2),
    "weights and output": (attention, lambda m, x: [y.sum(-1) for y in m.r(x, x, x)]),
    "weights of heads": (attention, lambda m, x: m.r(x, x, x, average_attn_weights=False)[1] * 2),
    "weights of padded keys": (
        attention, lambda m, x: m.r(x, x, x, key_padding_mask=x[..., 0] > 1.2)[1],
    ),
    "other widths": (
        lambda: attention(kdim=4, vdim=3), lambda m, x: m.r(x, x[..., :4], x[..., :3])[0],
    ),
    "one key more": (lambda: attention(add_bias_kv=True), lambda m, x: m.r(x, x, x)[0]),
    "a key of zeros": (lambda: attention(add_zero_attn=True), lambda m, x: m.r(x, x, x)[0]),
    "both under a mask": (
        lambda: attention(add_bias_kv=True, add_zero_attn=True, batch_first=False), under,
    ),
    "numbers added": (attention, numbers),
}  # fmt: skip


@pytest.mark.parametrize("name", ONES)
def test_one(name: str) -> None:
    made, function = ONES[name]
    hold(Apply(function, r=made()), SHAPE)
