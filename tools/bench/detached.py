"""What relevance should be, by autograd through partly detached models: no code of the compiler.

With ε = 0 these rules are input times the gradient of a model that keeps some values constant.
Sources: AttnLRP, Achtibat et al. 2024, 2402.05602; CP-LRP, Ali et al. 2022, 2202.07304; γ:
Montavon et al. 2019, with signed inputs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.models.maskdino.layers import MSDeformAttn, Shapes, sample_values, sampling_locations

#: Composites that this file knows, and what of an attention's relevance goes through its weights.
SHARES = {"attnlrp": 0.5, "cp_lrp": 0.0, "gamma": 0.0}


def detached(model: nn.Module, composite: str, conv: float = 1.0, linear: float = 0.5) -> nn.Module:
    """A copy of `model`, the gradient of which is relevance over input under a composite.

    `conv` and `linear` are the γ of composite `gamma`. `gradient_input` is the model itself.
    """
    made = copy.deepcopy(model)
    if composite == "gradient_input":
        return made
    for parent in list(made.modules()):
        for name, child in list(parent.named_children()):
            parent.add_module(name, _exchanged(child, composite, conv, linear))
    return made


def _exchanged(child: nn.Module, composite: str, conv: float, linear: float) -> nn.Module:
    share, gamma = SHARES[composite], composite == "gamma"
    if isinstance(child, nn.LayerNorm):
        return Norm(child)
    if isinstance(child, nn.GELU):
        return Gelu()
    if isinstance(child, nn.MultiheadAttention):
        return Attention(child, share, linear if gamma else 0.0)
    if isinstance(child, MSDeformAttn):
        return Deformable(child, share)
    if gamma and isinstance(child, nn.Linear):
        return Gamma(child.weight, child.bias, F.linear, linear)
    if gamma and isinstance(child, nn.Conv2d):
        convolve = partial(F.conv2d, stride=child.stride, padding=child.padding)
        return Gamma(child.weight, child.bias, convolve, conv)
    return child


def part(x: Tensor, share: float) -> Tensor:
    """`x`, of whose gradient only a share arrives."""
    return x.detach() if share == 0 else share * x + (1 - share) * x.detach()


class Norm(nn.Module):
    """Layer norm whose deviation is constant."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        deviation = (x.var(-1, correction=0, keepdim=True) + self.eps).sqrt().detach()
        return (x - x.mean(-1, keepdim=True)) / deviation * self.weight + self.bias


class Gelu(nn.Module):
    """x Φ(x) with Φ(x) constant."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (0.5 * (1 + torch.erf(x.detach() / math.sqrt(2))))


class Attention(nn.Module):
    """Self-attention of which `share` of the relevance goes through the weights, and half of that
    to queries and to keys each; γ on its linear maps."""

    def __init__(self, attention: nn.MultiheadAttention, share: float, gamma: float) -> None:
        super().__init__()
        self.share, self.heads = share, attention.num_heads
        rows = zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True)
        self.maps = nn.ModuleList(Gamma(w, b, F.linear, gamma) for w, b in rows)
        self.out = Gamma(attention.out_proj.weight, attention.out_proj.bias, F.linear, gamma)

    def forward(self, x: Tensor, *_: Tensor, need_weights: bool = False) -> tuple[Tensor, None]:
        q, k, v = (self._by_head(m(x)) for m in self.maps)
        q, k, v = part(q, self.share / 2), part(k, self.share / 2), part(v, 1 - self.share)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.out(mixed), None

    def _by_head(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        return x.view(b, n, self.heads, c // self.heads).transpose(1, 2)


class Deformable(MSDeformAttn):
    """Deformable attention with constant locations, `share` of the relevance through its weights
    and the rest through the values."""

    def __init__(self, attention: MSDeformAttn, share: float) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(copy.copy(attention.__dict__))
        self.share = share

    def forward(
        self,
        query: Tensor,
        reference_points: Tensor,
        input_flatten: Tensor,
        input_spatial_shapes: Shapes,
        input_level_start_index: Tensor | None = None,
        input_padding_mask: Tensor | None = None,
    ) -> Tensor:
        value: Tensor = self.value_proj(input_flatten).unflatten(-1, (self.n_heads, -1))
        value = part(value, 1 - self.share)
        split = (self.n_heads, self.n_levels, self.n_points, 2)
        offsets = self.sampling_offsets(query).unflatten(-1, split).detach()
        weights = self.attention_weights(query).unflatten(-1, (self.n_heads, -1)).softmax(-1)
        places = sampling_locations(reference_points, offsets, input_spatial_shapes)
        sampled = sample_values(value, input_spatial_shapes, places, part(weights, self.share))
        made: Tensor = self.output_proj(sampled)
        return made


class Gamma(nn.Module):
    """A linear map that sends its gradient back as γ would; a plain one for γ = 0."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, function: Callable[..., Tensor], gamma: float
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)
        zeros = weight.new_zeros(weight.shape[0])
        self.bias = nn.Parameter((zeros if bias is None else bias).detach(), requires_grad=False)
        self.function, self.gamma = function, gamma

    def forward(self, x: Tensor) -> Tensor:
        if not self.gamma:
            return self.function(x, self.weight, self.bias)
        made: Tensor = _gamma(x, self.weight, self.bias, self.function, self.gamma)
        return made


class _Gamma(torch.autograd.Function):
    """z = W x + b; back: R_x / x for the γ rule with signed inputs, which never divides by x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, f: Any, gamma: float) -> Tensor:
        z: Tensor = f(x, weight, bias)
        ctx.save_for_backward(x, z, weight, bias)
        ctx.function, ctx.gamma = f, gamma
        return z

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, z, weight, bias), f, gamma = ctx.saved_tensors, ctx.function, ctx.gamma
        up, down = weight + gamma * weight.clamp(min=0), weight + gamma * weight.clamp(max=0)
        b_up, b_down = bias + gamma * bias.clamp(min=0), bias + gamma * bias.clamp(max=0)
        positive, negative = x.clamp(min=0), x.clamp(max=0)
        r = grads[0] * z
        s_up = torch.where(z > 0, r / (f(positive, up, b_up) + f(negative, down, None)), 0.0)
        s_down = torch.where(z < 0, r / (f(positive, down, b_down) + f(negative, up, None)), 0.0)

        def back(w: Tensor, s: Tensor) -> Tensor:
            with torch.enable_grad():
                leaf = x.detach().requires_grad_(True)
                found: Tensor = torch.autograd.grad(f(leaf, w, None), leaf, s)[0]
                return found

        where_positive = back(up, s_up) + back(down, s_down)
        where_negative = back(down, s_up) + back(up, s_down)
        return torch.where(x >= 0, where_positive, where_negative), None, None, None, None


_gamma: Any = _Gamma.apply


def relevance(model: nn.Module, x: Tensor, seeds: Tensor) -> Tensor:
    """Input times gradient of Σ seed · model(x), for each of `seeds` [K, *shape of the output]:
    [K, *x.shape]."""
    leaf = x.detach().requires_grad_(True)
    out = model(leaf)
    last = len(seeds) - 1
    found = [
        torch.autograd.grad(out, leaf, seed, retain_graph=k < last)[0]
        for k, seed in enumerate(seeds)
    ]
    return torch.stack(found) * x
