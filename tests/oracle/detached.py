"""Relevance at ε = 0 as input times gradient of a partly detached graph.

The gradient of the walk with exactly these parts detached:

- `cp_lrp`: σ of LayerNorm and GroupNorm; attention probabilities and deformable attention weights;
- `attnlrp`: σ of the norms; both factors of every attention product (q·kᵀ and probabilities·values)
  and of deformable sampling carry half of the gradient; softmax is its plain gradient;
- `gradient_input`: nothing.

In all of them coordinates (sampling locations, reference points, boxes, query positions), top-k
indices and positional codes are constants, and the content of selected queries is followed to the
memory, although the model detaches it. But for `gradient_input`, the product of mask embedding and
pixel embedding gives half to either factor, and the sigmoid of a box passes what is above σ(0).

Two options depart from that: `follow_offsets=True` lets gradients through the sampling offsets, and
`follow_queries=False` stops where the model detaches. `gradient_input` with both is what autograd
gives on the model itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.models.maskdino import MaskDINO
from tests.oracle.targets import Target, locate, seed
from tests.oracle.walk import Shapes, Walk

RULES = ("cp_lrp", "attnlrp", "gradient_input")


class DetachedAlgebra:
    """Plain operations, detached where the rule set says so."""

    def __init__(self, rules: str, follow_offsets: bool = False) -> None:
        if rules not in RULES:
            raise ValueError(f"unknown rules {rules!r}")
        self.detach_sigma = rules != "gradient_input"
        self.halves = rules != "gradient_input"
        self.detach_weights = rules == "cp_lrp"
        self.follow_offsets = follow_offsets

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor | None, like: nn.Conv2d) -> Tensor:
        return convolve(x, weight, bias, like)

    def layer_norm(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        y = self._standardise(x, norm.eps)
        return y * norm.weight + norm.bias

    def group_norm(self, x: Tensor, norm: nn.GroupNorm) -> Tensor:
        groups = x.unflatten(1, (norm.num_groups, -1)).flatten(2)  # [B, G, C/G·H·W]
        y = self._standardise(groups, norm.eps).reshape(x.shape)
        return y * norm.weight[:, None, None] + norm.bias[:, None, None]

    def _standardise(self, x: Tensor, eps: float) -> Tensor:
        sigma = (x.var(-1, correction=0, keepdim=True) + eps).sqrt()
        return (x - x.mean(-1, keepdim=True)) / (sigma.detach() if self.detach_sigma else sigma)

    def relu(self, x: Tensor) -> Tensor:
        return F.relu(x)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def place(self, x: Tensor, position: Tensor) -> Tensor:
        return x + position

    def resize(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)

    def scale(self, x: Tensor, factor: float) -> Tensor:
        return x * factor

    def softmax(self, x: Tensor) -> Tensor:
        return x.softmax(-1)

    def product(self, equation: str, a: Tensor, b: Tensor) -> Tensor:
        if not self.halves:
            return torch.einsum(equation, a, b)
        # The two halves add up to the value, and each lets the gradient into one factor only.
        first = torch.einsum(equation, a, b.detach())
        return (first + torch.einsum(equation, a.detach(), b)) / 2

    def weighted(self, equation: str, probabilities: Tensor, values: Tensor) -> Tensor:
        if self.detach_weights:
            return torch.einsum(equation, probabilities.detach(), values)
        return self.product(equation, probabilities, values)

    def sample(self, v: Tensor, shapes: Shapes, where: Tensor, weights: Tensor) -> Tensor:
        if self.detach_weights:
            return sample(v, shapes, where, weights.detach())
        if not self.halves:
            return sample(v, shapes, where, weights)
        first = sample(v, shapes, where, weights.detach())
        return (first + sample(v.detach(), shapes, where, weights)) / 2

    def box(self, step: Tensor, reference: Tensor) -> Tensor:
        unit = step + reference
        if not self.halves:
            return unit.sigmoid()
        # Value σ(u), gradient (σ(u) − ½)/u: only what lies above σ(0) is passed on.
        share = (unit.sigmoid() - 0.5) / unit
        passed = unit * torch.where(unit == 0, 0.25, share).detach()
        return passed + 0.5

    def coordinates(self, offsets: Tensor) -> Tensor:
        return offsets if self.follow_offsets else offsets.detach()


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, like: nn.Conv2d) -> Tensor:
    """The convolution `like`, with other weights."""
    padding = (int(like.padding[0]), int(like.padding[1]))
    return F.conv2d(x, weight, bias, like.stride, padding, like.dilation, like.groups)


def sample(v: Tensor, shapes: Shapes, where: Tensor, weights: Tensor) -> Tensor:
    """Σ over levels and points of weight × bilinear value, zero outside a map.

    `v` [B, N, M, D], `where` [B, Q, M, L, P, 2] in [0, 1], `weights` [B, Q, M, L·P] → [B, Q, M, D].
    """
    batch, _, heads, _ = v.shape
    found = []
    for level, part in enumerate(v.split([h * w for h, w in shapes], 1)):
        as_map = part.permute(0, 2, 3, 1).flatten(0, 1).unflatten(-1, shapes[level])
        grid = where[:, :, :, level].transpose(1, 2).flatten(0, 1) * 2 - 1
        found.append(F.grid_sample(as_map, grid, align_corners=False))  # [B·M, D, Q, P]
    values = torch.cat(found, -1).unflatten(0, (batch, heads))
    return torch.einsum("bmdqp,bqmp->bqmd", values, weights)


class Detached:
    """One forward pass of `model` (double) on `images`; then relevance of any number of targets."""

    def __init__(
        self,
        model: MaskDINO,
        images: Tensor,
        rules: str,
        *,
        follow_offsets: bool = False,
        follow_queries: bool = True,
    ) -> None:
        algebra = DetachedAlgebra(rules, follow_offsets)
        self.values = Walk(model, images, algebra, follow_queries=follow_queries).values

    def relevance(self, target: Target, read: Sequence[str] = ("input",)) -> dict[str, Tensor]:
        """Relevance at the named places of the walk, each in the shape of its value.

        Places after the target, and places that nothing reaches, are zero.
        """
        start = self.values[locate(target)]
        points = [self.values[name] for name in read]
        gradients = torch.autograd.grad(
            start, points, seed(target, start), retain_graph=True, materialize_grads=True
        )
        found = zip(read, points, gradients, strict=True)
        return {name: (value * gradient).detach() for name, value, gradient in found}
