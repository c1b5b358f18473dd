"""Functions of autograd with a gradient written by hand: traced where it is that of what they
compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.errors import TraceError


class Gated(torch.autograd.Function):
    """x · σ(x), with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return grads[0] * (s + x * s * (1 - s))


class Scaled(torch.autograd.Function):
    """x · y · n, with a context that is set up apart."""

    @staticmethod
    def forward(x: Tensor, y: Tensor, n: float) -> Tensor:
        return x * y * n

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.n = inputs[2]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, y = ctx.saved_tensors
        return grads[0] * y * ctx.n, grads[0] * x * ctx.n, None


class Through(torch.autograd.Function):
    """A bound that gradients pass, which shows beyond it alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class Model(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function, self.layer = function, nn.Linear(4, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer(x))  # type: ignore[no-any-return]


def half(seed: int) -> Tensor:
    drawn = torch.rand(2, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn - 0.5


@pytest.mark.parametrize("function", [Gated.apply, lambda x: Scaled.apply(x, x.exp(), 0.5)])
def test_a_gradient_of_what_it_computes(function: Any) -> None:
    model, x = Model(function).eval(), half(1)
    program = lrpc.compile(model, (x,), composite="gradient_input")
    leaf = half(2).requires_grad_()
    y = model(leaf)
    (slope,) = torch.autograd.grad(y.sum(), leaf)
    state = program.forward(leaf.detach())
    torch.testing.assert_close(state.outputs, y.detach(), rtol=1e-12, atol=1e-12)
    found = program.relevance(state, "output", seeds=y.detach()[None]).input[0]
    torch.testing.assert_close(found, (leaf * slope).detach(), rtol=1e-12, atol=1e-12)


def test_another_gradient() -> None:
    with pytest.raises(TraceError, match=r"^Through is a torch.autograd.Function with a gradient"):
        lrpc.compile(Model(Through.apply).eval(), (half(1),))
