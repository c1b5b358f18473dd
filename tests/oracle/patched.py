"""Relevance of any model at ε = 0 as a gradient: torch's functions, patched while the model runs.

Shares no code with the compiler. Under `cp_lrp` attention probabilities are constants, under
`attnlrp` each factor of a product of activations gets half of the gradient; σ of norms is constant
and every activation is x times a constant (Achtibat et al. 2024, 2402.05602; Ali et al. 2022,
2202.07304). `gradient_input` patches nothing but what attention is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

ACTIVATIONS = {
    F.gelu: F.gelu, F.relu: F.relu, F.silu: F.silu, torch.tanh: torch.tanh,
    Tensor.tanh: torch.tanh, torch.relu: torch.relu, torch._C._nn.gelu: F.gelu,
    torch._C._nn.silu: F.silu, F.tanh: torch.tanh,
}  # fmt: skip
PRODUCTS = (torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__)
MATMULS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm)


class Patched(TorchFunctionMode):
    """While active, gradients of the functions that models call are those of the rules."""

    def __init__(self, rules: str) -> None:
        super().__init__()
        self.rules = rules
        self.softmaxes = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self.attention(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            return self.multi_head(*args, **kwargs)
        if func in (F.softmax, torch.softmax, Tensor.softmax):
            return self.softmax(*args, **kwargs)
        if self.rules == "gradient_input":
            return func(*args, **kwargs)
        if func is F.grid_sample:  # places are constants
            return func(args[0], args[1].detach(), *args[2:], **kwargs)
        if func in (F.layer_norm, torch.layer_norm):
            return layer_norm(*args, **kwargs)
        if func in (F.group_norm, torch.group_norm):
            return group_norm(*args, **kwargs)
        if func is F.rms_norm:
            return rms_norm(*args, **kwargs)
        if func in (torch.rsqrt, Tensor.rsqrt):
            return func(*args, **kwargs).detach()
        if func in ACTIVATIONS:
            return activation(ACTIVATIONS[func], *args, **kwargs)
        if func in PRODUCTS or func in MATMULS:
            return self.product(func, *args)
        if func is torch.einsum and len(args) == 3:
            return self.product(partial(func, args[0]), *args[1:])
        return func(*args, **kwargs)

    def product(self, func: Callable[..., Any], a: Any, b: Any) -> Tensor:
        if not all(isinstance(x, Tensor) and x.requires_grad for x in (a, b)):
            return func(a, b)
        if self.rules == "gradient_input":
            return func(a, b)
        return 0.5 * func(a, b.detach()) + 0.5 * func(a.detach(), b)

    def softmax(self, x: Tensor, dim: int = -1, *_: Any, **kwargs: Any) -> Tensor:
        self.softmaxes += 1
        y = torch.softmax(x, dim, dtype=kwargs.get("dtype"))
        return y.detach() if self.rules == "cp_lrp" else y

    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None,
        dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        assert dropout_p == 0
        if enable_gqa:
            k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in (k, v))
        scores = self.product(torch.matmul, q, k.transpose(-1, -2))
        scores = scores * (q.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
        if attn_mask is None:
            return self.product(torch.matmul, self.softmax(scores), v)
        if attn_mask.dtype != torch.bool:
            return self.product(torch.matmul, self.softmax(scores + attn_mask), v)
        blind = ~attn_mask.any(-1, keepdim=True)  # rows that see nothing: torch makes them 0
        scores = torch.where(attn_mask | blind, scores, float("-inf"))
        return self.product(torch.matmul, torch.where(blind, 0.0, self.softmax(scores)), v)

    def multi_head(
        self, query: Tensor, key: Tensor, value: Tensor, width: int, heads: int,
        in_weight: Tensor, in_bias: Tensor, bias_k: Any, bias_v: Any, zero: bool, dropout: float,
        out_weight: Tensor, out_bias: Tensor, **kwargs: Any,
    ) -> tuple[Tensor, None]:  # fmt: skip
        """Tokens in front, [N, B, C]; a mask is added to the scores, [B·heads, N, S]."""
        mask = kwargs["attn_mask"]
        mask = mask if mask is None else mask.unflatten(0, (-1, heads))
        assert kwargs["key_padding_mask"] is None
        parts = []
        rows = zip(in_weight.chunk(3), in_bias.chunk(3), strict=True)
        for x, (weight, bias) in zip((query, key, value), rows, strict=True):
            y = F.linear(x, weight, bias)
            parts.append(y.reshape(*y.shape[:2], heads, width // heads).permute(1, 2, 0, 3))
        mixed = self.attention(*parts, attn_mask=mask).permute(2, 0, 1, 3).flatten(2)
        return F.linear(mixed, out_weight, out_bias), None


def layer_norm(
    x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5, *_: Any,
) -> Tensor:  # fmt: skip
    centred = x - x.mean(-1, keepdim=True)
    y = centred / (x.var(-1, correction=0, keepdim=True) + eps).sqrt().detach()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5, *_: Any,
) -> Tensor:  # fmt: skip
    shape = (1, -1, *[1] * (x.dim() - 2))
    y = layer_norm(x.unflatten(1, (groups, -1)).flatten(2), None, eps=eps).view(x.shape)
    y = y if weight is None else y * weight.view(shape)
    return y if bias is None else y + bias.view(shape)


def rms_norm(x: Tensor, shape: Any, weight: Tensor | None = None, eps: float = 0.0) -> Tensor:
    y = x / ((x**2).mean(-1, keepdim=True) + eps).sqrt().detach()
    return y if weight is None else y * weight


def activation(function: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    kwargs.pop("inplace", None)
    return x * (function(x, *args, **kwargs) / x).detach()


def relevance(
    model: Callable[[Tensor], Tensor], x: Tensor, index: tuple[int, ...], rules: str
) -> Tensor:
    """x ⊙ gradient of Σ over images of model(x)[:, *index], in the patched model; like x."""
    leaf = x.detach().clone().requires_grad_(True)
    with torch.enable_grad(), Patched(rules):
        out = model(leaf)
        start = out[(slice(None), *index)].sum()
    assert torch.allclose(out, model(x), rtol=1e-9, atol=1e-10)
    (gradient,) = torch.autograd.grad(start, leaf)
    return leaf.detach() * gradient
