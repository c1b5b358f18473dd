"""Compiling leaves a model, and the random numbers drawn after it, as they were."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.errors import LrpcError, TraceError

X = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Keeps(nn.Module):
    """A model with containers of several kinds, one in another."""

    def __init__(self, forward: Callable[[Keeps, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = forward
        self.seen: dict[str, Any] = {"sizes": [1], "nested": {"kinds": {"a"}}}
        self.recent = deque([1, 2], maxlen=2)
        self.pair = ([0], OrderedDict(a=1, b=2))
        self.linear = nn.Linear(6, 6, dtype=torch.float64).requires_grad_(False)
        self.register_buffer("table", torch.ones(6, dtype=torch.float64))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def keeps_much(m: Keeps, x: Tensor) -> Tensor:
    m.seen["sizes"].append(x.shape[0])
    m.seen["nested"]["kinds"].add("b")
    m.seen["last"] = x * 2
    m.recent.append(3)
    m.pair[0].append(x)
    m.pair[1].move_to_end("a")
    m.linear._forward_hooks[7] = lambda module, args, out: None
    return m.linear(x)


def test_containers_hold_what_they_held() -> None:
    model = Keeps(keeps_much)
    lrpc.compile(model, (X,), composite="epsilon")
    assert model.seen == {"sizes": [1], "nested": {"kinds": {"a"}}}
    assert (list(model.recent), model.recent.maxlen) == ([1, 2], 2)
    assert model.pair[0] == [0]
    assert list(model.pair[1]) == ["a", "b"]
    assert not model.linear._forward_hooks
    assert torch.equal(model(X), model.linear(X))


def into_the_buffer(m: Keeps, x: Tensor) -> Tensor:
    m.table.data.add_(1)
    return x * m.table


def into_a_parameter(m: Keeps, x: Tensor) -> Tensor:
    m.linear.weight.data.mul_(2)
    return m.linear(x)


@pytest.mark.parametrize(
    ("function", "name"),
    [(into_the_buffer, "buffer 'table'"), (into_a_parameter, "parameter 'linear.weight'")],
)
def test_writes_past_autograd_are_seen_and_undone(
    function: Callable[[Keeps, Tensor], Tensor], name: str
) -> None:
    model = Keeps(function)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(TraceError, match=f"the model writes into its {name} while it runs"):
        lrpc.compile(model, (X,), composite="epsilon")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_traced_tensor_as_the_memory_of_a_plain_one() -> None:
    def assigns(m: Keeps, x: Tensor) -> Tensor:
        m.table.data = x.mean(-1)[..., None]
        return x * m.table

    with pytest.raises(TraceError, match=r"writes traced values into a plain tensor's attribute"):
        lrpc.compile(Keeps(assigns), (X,), composite="epsilon")


def test_weights_that_are_normalised_in_place_and_stay_equal() -> None:
    """Writing the same values is no difference between calls."""

    def clamped(m: Keeps, x: Tensor) -> Tensor:
        with torch.no_grad():
            m.table.clamp_(min=0)
        return x * m.table

    assert lrpc.compile(Keeps(clamped), (X,), composite="epsilon")


def test_random_numbers_go_on_as_if_nothing_had_been_compiled() -> None:
    def draws(m: Keeps, x: Tensor) -> Tensor:
        return x * random.random() * float(np.random.rand()) + torch.randn(6)

    model = Keeps(draws)
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    expected = torch.rand(3), random.random(), np.random.rand()
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    with pytest.raises(LrpcError):
        lrpc.compile(model, (X,), composite="epsilon")
    assert torch.equal(torch.rand(3), expected[0])
    assert (random.random(), np.random.rand()) == expected[1:]


def test_an_input_without_axes() -> None:
    class Scales(nn.Module):
        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return x * scale

    scale = torch.tensor(2.0, dtype=torch.float64)
    program = lrpc.compile(Scales().eval(), (X, scale), composite="epsilon")
    assert torch.equal(program.forward(X[:1], scale * 2).outputs, X[:1] * 4)
