"""ViT-B/16 (Dosovitskiy et al. 2021, 2010.11929) in torch alone; parameters are named as
torchvision's."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tools.bench.floors import Work, vit_forward, vit_relevance


@dataclass(frozen=True)
class Sizes:
    """The sizes of a vision transformer."""

    image: int = 224
    patch: int = 16
    layers: int = 12
    heads: int = 12
    width: int = 768
    ffn: int = 3072
    classes: int = 1000

    @property
    def tokens(self) -> int:
        """Patches and the class token."""
        return (self.image // self.patch) ** 2 + 1

    def work(self, batch: int) -> Work:
        """The least work of forward and the relevance of one seed for each image."""
        total = Work(0, 0)
        for layer in range(self.layers):
            sizes = (self.tokens, self.width, self.ffn, 0 if layer else 3 * self.patch**2)
            total = total.plus(vit_forward(*sizes)).plus(vit_relevance(*sizes))
        return total.times(batch)


#: The classes that a model is made of; `own_kinds` makes some that can be patched apart.
KINDS = SimpleNamespace(
    LayerNorm=nn.LayerNorm, GELU=nn.GELU, MultiheadAttention=nn.MultiheadAttention
)


def own_kinds() -> SimpleNamespace:
    """Subclasses of their own, whose patches leave torch's classes alone."""
    return SimpleNamespace(**{name: type(name, (kind,), {}) for name, kind in vars(KINDS).items()})


class Block(nn.Module):
    """Attention and a feed-forward part, each after a norm and before a sum."""

    def __init__(self, sizes: Sizes, kinds: Any) -> None:
        super().__init__()
        width = sizes.width
        self.ln_1 = kinds.LayerNorm(width, eps=1e-6)
        self.self_attention = kinds.MultiheadAttention(width, sizes.heads, batch_first=True)
        self.ln_2 = kinds.LayerNorm(width, eps=1e-6)
        up, down = nn.Linear(width, sizes.ffn), nn.Linear(sizes.ffn, width)
        self.mlp = nn.ModuleDict({"0": up, "1": kinds.GELU(), "3": down})

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.self_attention(y, y, y, need_weights=False)[0]
        y = self.ln_2(x)
        for part in self.mlp.values():
            y = part(y)
        out: Tensor = x + y
        return out


class Layers(nn.Module):
    """Positions, the blocks, and the last norm."""

    def __init__(self, sizes: Sizes, kinds: Any) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, sizes.tokens, sizes.width))
        blocks = {f"encoder_layer_{i}": Block(sizes, kinds) for i in range(sizes.layers)}
        self.layers = nn.Sequential(OrderedDict(blocks))
        self.ln = kinds.LayerNorm(sizes.width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.ln(self.layers(x + self.pos_embedding))
        return normed


class ViT(nn.Module):
    """Images [B, 3, H, W] → logits [B, classes], with seeded random weights, none of them zero."""

    def __init__(self, sizes: Sizes, kinds: Any = KINDS) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, sizes.width, sizes.patch, stride=sizes.patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.encoder = Layers(sizes, kinds)
        self.heads = nn.ModuleDict({"head": nn.Linear(sizes.width, sizes.classes)})
        generator = torch.Generator().manual_seed(0)
        for name, parameter in self.named_parameters():
            scale = 0.1 if parameter.dim() != 2 and "conv" not in name else 0.0
            fan = parameter[0].numel() if parameter.dim() > 1 else 1
            noise = torch.randn(parameter.shape, generator=generator)
            start = parameter.data if parameter.dim() == 1 and "ln" in name else 0.0
            parameter.data = start + noise * (scale or fan**-0.5)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv_proj(images).flatten(2).transpose(1, 2)
        x = self.encoder(torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], 1))
        logits: Tensor = self.heads["head"](x[:, 0])
        return logits
