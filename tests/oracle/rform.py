"""Relevance itself carried backwards, with the stabiliser ε in every rule that has one.

Here autograd's "gradients" are relevances: `Redistribute.backward` receives R of the output and
returns R of the inputs. stab(z) = z + ε·sgn(z) with sgn(0) = +1. It stands in linear, convolution
(batch norm folded in first), LayerNorm and GroupNorm (on the output with β), residual additions
and positional ones (the position's share is dropped), products of two activations (q is scaled
before q·kᵀ, so the stabiliser sees the scaled scores), deformable sampling and
interpolation. ReLU and scaling by a constant hand R on unchanged; max pooling, gather, cat,
slicing and reshaping are their exact transposes; softmax is x ⊙ (R − s ΣR).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.models.maskdino import MaskDINO
from tests.oracle.detached import convolve, sample
from tests.oracle.targets import Target, locate, seed
from tests.oracle.walk import Shapes, Walk

RULES = ("cp_lrp", "attnlrp")


def stab(z: Tensor, eps: float) -> Tensor:
    """z moved away from zero by ε, zero itself upwards."""
    return torch.where(z >= 0, z + eps, z - eps)


class Redistribute(torch.autograd.Function):
    """z = f(inputs), linear in each; R_i = share · input_i ⊙ (∂z/∂input_i)ᵀ (R / stab(z))."""

    @staticmethod
    def forward(
        ctx: Any, f: Callable[..., Tensor], share: float, eps: float, *inputs: Tensor
    ) -> Tensor:
        ctx.f, ctx.share, ctx.eps = f, share, eps
        ctx.save_for_backward(*inputs)
        return f(*inputs)

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor | None, ...]:
        inputs = [x.detach().requires_grad_() for x in ctx.saved_tensors]
        with torch.enable_grad():
            z = ctx.f(*inputs)
        gradients = torch.autograd.grad(z, inputs, relevance / stab(z.detach(), ctx.eps))
        shares = (ctx.share * x.detach() * g for x, g in zip(inputs, gradients, strict=True))
        return None, None, None, *shares


class Pass(torch.autograd.Function):
    """An elementwise f that hands relevance on unchanged."""

    @staticmethod
    def forward(ctx: Any, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return f(x)

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[None, Tensor]:
        return None, relevance


class TaylorSoftmax(torch.autograd.Function):
    """s = softmax(x) over the last axis; R_x = x ⊙ (R − s ΣR)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        s = x.softmax(-1)
        ctx.save_for_backward(x, s)
        return s

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Tensor:
        x, s = ctx.saved_tensors
        return x * (relevance - s * relevance.sum(-1, keepdim=True))


class BoxStep(torch.autograd.Function):
    """σ(step + reference); R of the sum is R·(σ − ½)/σ, and the step takes its part of the sum."""

    @staticmethod
    def forward(ctx: Any, step: Tensor, reference: Tensor, eps: float) -> Tensor:
        ctx.eps = eps
        ctx.save_for_backward(step, reference)
        return (step + reference).sigmoid()

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None, None]:
        step, reference = ctx.saved_tensors
        total = step + reference
        sigma = total.sigmoid()
        return step / stab(total, ctx.eps) * relevance * (sigma - 0.5) / sigma, None, None


class RFormAlgebra:
    """Every operation with relevance as its backward pass."""

    def __init__(self, rules: str, eps: float) -> None:
        if rules not in RULES:
            raise ValueError(f"unknown rules {rules!r}")
        self.detach_weights = rules == "cp_lrp"
        self.eps = eps

    def _epsilon(self, f: Callable[..., Tensor], *inputs: Tensor, share: float = 1.0) -> Tensor:
        result: Tensor = Redistribute.apply(f, share, self.eps, *inputs)
        return result

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._epsilon(lambda x: F.linear(x, weight, bias), x)

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor | None, like: nn.Conv2d) -> Tensor:
        return self._epsilon(lambda x: convolve(x, weight, bias, like), x)

    def layer_norm(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        sigma = _sigma(x, norm.eps)

        def f(x: Tensor) -> Tensor:
            return (x - x.mean(-1, keepdim=True)) / sigma * norm.weight + norm.bias

        return self._epsilon(f, x)

    def group_norm(self, x: Tensor, norm: nn.GroupNorm) -> Tensor:
        sigma = _sigma(x.unflatten(1, (norm.num_groups, -1)).flatten(2), norm.eps)
        weight, bias = norm.weight[:, None, None], norm.bias[:, None, None]

        def f(x: Tensor) -> Tensor:
            groups = x.unflatten(1, (norm.num_groups, -1)).flatten(2)
            centred = (groups - groups.mean(-1, keepdim=True)) / sigma
            return centred.reshape(x.shape) * weight + bias

        return self._epsilon(f, x)

    def relu(self, x: Tensor) -> Tensor:
        result: Tensor = Pass.apply(F.relu, x)
        return result

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return self._epsilon(torch.add, x, y)

    def place(self, x: Tensor, position: Tensor) -> Tensor:
        return self._epsilon(lambda x: x + position, x)

    def resize(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        def f(x: Tensor) -> Tensor:
            return F.interpolate(x, size=size, mode="bilinear", align_corners=False)

        return self._epsilon(f, x)

    def scale(self, x: Tensor, factor: float) -> Tensor:
        result: Tensor = Pass.apply(lambda x: x * factor, x)
        return result

    def softmax(self, x: Tensor) -> Tensor:
        result: Tensor = TaylorSoftmax.apply(x)
        return result

    def product(self, equation: str, a: Tensor, b: Tensor) -> Tensor:
        return self._epsilon(lambda a, b: torch.einsum(equation, a, b), a, b, share=0.5)

    def weighted(self, equation: str, probabilities: Tensor, values: Tensor) -> Tensor:
        if not self.detach_weights:
            return self.product(equation, probabilities, values)
        constant = probabilities.detach()
        return self._epsilon(lambda v: torch.einsum(equation, constant, v), values)

    def sample(self, v: Tensor, shapes: Shapes, where: Tensor, weights: Tensor) -> Tensor:
        if not self.detach_weights:
            return self._epsilon(lambda v, w: sample(v, shapes, where, w), v, weights, share=0.5)
        constant = weights.detach()
        return self._epsilon(lambda v: sample(v, shapes, where, constant), v)

    def box(self, step: Tensor, reference: Tensor) -> Tensor:
        result: Tensor = BoxStep.apply(step, reference, self.eps)
        return result

    def coordinates(self, offsets: Tensor) -> Tensor:
        return offsets.detach()


def _sigma(x: Tensor, eps: float) -> Tensor:
    """Standard deviation over the last axis, a constant."""
    return (x.detach().var(-1, correction=0, keepdim=True) + eps).sqrt()


class RForm:
    """One forward pass of `model` (double) on `images`; then relevance of any number of targets."""

    def __init__(
        self,
        model: MaskDINO,
        images: Tensor,
        rules: str,
        eps: float = 1e-6,
        *,
        follow_queries: bool = True,
    ) -> None:
        algebra = RFormAlgebra(rules, eps)
        self.values = Walk(model, images, algebra, follow_queries=follow_queries).values

    def relevance(self, target: Target, read: Sequence[str] = ("input",)) -> dict[str, Tensor]:
        """Relevance at the named places of the walk, each in the shape of its value.

        Starts from the target's value (a box: its coordinate), times 1/N for a mean over tokens.
        """
        start = self.values[locate(target)]
        points = [self.values[name] for name in read]
        relevances = torch.autograd.grad(
            start,
            points,
            seed(target, start) * start.detach(),
            retain_graph=True,
            materialize_grads=True,
        )
        return dict(zip(read, relevances, strict=True))
