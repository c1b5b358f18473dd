"""Small models, as a user would name them under LRPC.SOURCE."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """A convolution, two residual layers, an attention, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images / 255).relu().flatten(2).transpose(1, 2)  # [B, 64, 8]
        for layer in self.layers:
            x = x + layer(x).relu()
        attended, _ = self.attention(x, x, x, need_weights=False)
        head: Tensor = self.head(self.norm(x + attended).mean(1))
        return head


class Fourier(nn.Module):
    """An operation that no relevance rule is known for."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        spectrum = torch.fft.hfft2(images).abs()
        head: Tensor = self.head(spectrum.mean((2, 3)))
        return head


class Exponential(nn.Module):
    """An exponential, and the largest entry of every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        head: Tensor = self.head((images / 255).exp().amax((2, 3)))
        return head


def exponential(config: object) -> nn.Module:
    """For LRPC.SOURCE tests.support.small:exponential."""
    return Exponential()


class Normed(nn.Module):
    """A convolution, a batch norm in use, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)
        for tensor in (self.norm.weight, self.norm.bias, *self.norm.buffers()):
            if tensor.is_floating_point():
                nn.init.uniform_(tensor, 0.5, 1.5)

    def forward(self, images: Tensor) -> Tensor:
        head: Tensor = self.head(self.norm(self.stem(images / 255)).relu().mean((2, 3)))
        return head


def normed(config: object) -> nn.Module:
    """For LRPC.SOURCE tests.support.small:normed."""
    return Normed()


def network(config: object) -> nn.Module:
    """For LRPC.SOURCE tests.support.small:network."""
    return Network()


def fourier(config: object) -> nn.Module:
    """For LRPC.SOURCE tests.support.small:fourier."""
    return Fourier()


def broken(config: object) -> nn.Module:
    """A model with a weight that is not a number."""
    model = Network()
    model.head.weight.data[0, 0] = float("nan")
    return model
