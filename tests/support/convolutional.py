"""Small networks of convolutions, by name, and weights that hide nothing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def disturbed(model: nn.Module, seed: int = 1) -> nn.Module:
    """`model` in float64 for evaluation, with no weight or statistic where it starts out."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if not tensor.is_floating_point():
                continue
            noise = torch.rand(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + noise)
            elif tensor.dim() > 1:
                tensor.mul_(1 + 0.3 * noise)
            else:
                tensor.add_(0.3 * noise)
    return model.double().eval().requires_grad_(False)


class UNet(nn.Module):
    """Down by pooling, up by a transposed convolution, with the map from before joined on."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, 4), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.down = nn.Sequential(
            nn.MaxPool2d(2), _convolution(4, 8), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        )
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.norm = nn.BatchNorm2d(4)
        self.merge = nn.Sequential(_convolution(8, 4), nn.ReLU(inplace=True))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.stem(x)
        up = self.norm(self.up(self.down(wide)))
        found: Tensor = self.head(self.merge(torch.cat([up, wide], 1)))
        return found


class Shared(nn.Module):
    """One convolution used twice, one weight in two layers, and a head tied to its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, 4)
        self.again = _convolution(4, 4)
        self.norm = nn.BatchNorm2d(4)
        self.tied = _convolution(4, 4)
        self.tied.weight = self.again.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = x + self.norm(self.again(x)).relu()
        y = self.again(x)
        y += self.tied(x)
        return y.relu_().mean((2, 3))


class UsedTwice(nn.Module):
    """Batch norm before everything, after an activation, and behind a map that others read too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.BatchNorm2d(n) for n in (3, 4, 4))
        self.stem, self.next = _convolution(3, 4), _convolution(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.stem(self.first(x)).relu())
        y = self.next(x)
        return self.third(y).relu() + y


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)


def _after(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(_convolution(3, 6), *layers)


class _Unpooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool, self.unpool = nn.MaxPool2d(3, return_indices=True), nn.MaxUnpool2d(3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.unpool(*self.pool(x))
        return found


Make = Callable[[], nn.Module]
IMAGE, SIGNAL = (3, 9, 11), (3, 12)

#: name → model, shape of an input; all of them piecewise linear.
LINEAR_PIECES: dict[str, tuple[Make, tuple[int, ...]]] = {
    "multilayer perceptron": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(),
            nn.Linear(8, 4),
        ),
        (3, 4),
    ),
    "classifier": (
        lambda: _after(
            nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4),
            nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(4, 3),
        ),
        IMAGE,
    ),
    "u-net": (UNet, (3, 8, 8)),
    "shared weights": (Shared, IMAGE),
    "batch norm elsewhere": (UsedTwice, IMAGE),
    "groups and depths": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=8, stride=2), nn.ReLU(), nn.Conv2d(8, 2, 1),
        ),
        (4, 8, 8),
    ),
    "dilated": (lambda: _after(nn.ReLU(), nn.Conv2d(6, 2, 3, dilation=2, padding="same")), IMAGE),
    "transposed in groups": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2), nn.BatchNorm2d(6),
            nn.ReLU(), nn.ConvTranspose2d(6, 2, 3, dilation=2),
        ),
        (4, 5, 4),
    ),
    "seven by seven of nine by eleven": (lambda: _after(nn.ReLU(), nn.AdaptiveAvgPool2d(7)), IMAGE),
    "cells larger than the map": (lambda: _after(nn.ReLU(), nn.AdaptiveAvgPool2d(12)), IMAGE),
    "max pooling, ceil": (lambda: _after(nn.MaxPool2d(2, ceil_mode=True)), IMAGE),
    "max pooling, dilation": (lambda: _after(nn.MaxPool2d(3, 1, 1, dilation=2)), IMAGE),
    "max pooling, adaptive": (lambda: _after(nn.AdaptiveMaxPool2d((3, 1))), IMAGE),
    "average pooling": (lambda: _after(nn.AvgPool2d(3, 2, 1)), IMAGE),
    "average of what is there": (
        lambda: _after(nn.ReLU(), nn.AvgPool2d(3, 2, 1, count_include_pad=False)), IMAGE,
    ),
    "average pooling, ceil": (
        lambda: _after(nn.AvgPool2d(2, 2, 1, ceil_mode=True), nn.ReLU()), IMAGE,
    ),
    "average pooling, a divisor": (
        lambda: _after(nn.AvgPool2d(2, divisor_override=3), nn.ReLU()), IMAGE,
    ),
    "signal": (
        lambda: nn.Sequential(
            nn.Conv1d(3, 4, 3, padding=1, stride=2), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2),
            nn.Flatten(), nn.Linear(12, 3),
        ),
        SIGNAL,
    ),
    "signal, up and averaged": (
        lambda: nn.Sequential(
            nn.ConvTranspose1d(3, 4, 3, 2, 1, 1), nn.ReLU(),
            nn.Conv1d(4, 4, 3, padding="same", padding_mode="circular"), nn.AvgPool1d(3, 2, 1),
            nn.Upsample(scale_factor=2, mode="linear"), nn.AdaptiveAvgPool1d(5),
        ),
        SIGNAL,
    ),
    "up and resized": (
        lambda: _after(
            nn.Upsample(scale_factor=2), nn.ReLU(),
            nn.Upsample((7, 5), mode="bilinear", align_corners=True),
        ),
        (3, 6, 6),
    ),
    "mirrored edges": (
        lambda: nn.Sequential(
            nn.ReflectionPad2d((1, 2, 0, 3)),
            nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.ReLU(),
            nn.ReplicationPad2d(2), nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"),
            nn.ConstantPad2d((1, -1, 0, 2), 1.5), nn.Conv2d(2, 2, 2),
        ),
        (3, 6, 6),
    ),
    "shuffled": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.PixelShuffle(2), nn.ReLU(), nn.PixelUnshuffle(2),
            nn.ChannelShuffle(4), nn.Conv2d(8, 2, 1),
        ),
        (3, 6, 6),
    ),
    "leaky": (lambda: _after(nn.LeakyReLU(0.2), nn.Conv2d(6, 2, 1)), IMAGE),
    "leaky by channel": (lambda: _after(nn.PReLU(6), nn.Conv2d(6, 2, 1)), IMAGE),
    "leaky by one slope": (lambda: _after(nn.PReLU(), nn.RReLU(), nn.Conv2d(6, 2, 1)), IMAGE),
    "threshold": (lambda: _after(nn.Threshold(0.1, 0.0), nn.Conv2d(6, 2, 1)), IMAGE),
}  # fmt: skip

#: The same for models whose activations or norms are not; `gradient_input` alone has a gradient.
CURVED: dict[str, tuple[Make, tuple[int, ...]]] = {
    name: (lambda layer=layer: _after(layer(), nn.Conv2d(6, 2, 1)), (3, 4, 5))
    for name, layer in {
        "GELU": nn.GELU,
        "SiLU": nn.SiLU,
        "Sigmoid": nn.Sigmoid,
        "Tanh": nn.Tanh,
        "ReLU6": nn.ReLU6,
        "Hardtanh": nn.Hardtanh,
        "Hardswish": nn.Hardswish,
        "ELU": nn.ELU,
        "ELU, alpha": lambda: nn.ELU(0.4),
        "SELU": nn.SELU,
        "CELU": lambda: nn.CELU(0.5),  # torch's own backward rounds other numbers to float32
        "Mish": nn.Mish,
        "Softplus": lambda: nn.Softplus(2.0),
        "LogSigmoid": nn.LogSigmoid,
        "Softshrink": nn.Softshrink,
        "GLU": lambda: nn.Sequential(nn.GLU(1), nn.Conv2d(3, 6, 1)),
        "GroupNorm": lambda: nn.GroupNorm(2, 6),
        "InstanceNorm": lambda: nn.InstanceNorm2d(6, affine=True),
        "Softmax": lambda: nn.Softmax(1),
    }.items()
}

#: name → model and the end of the one line that refuses it.
REFUSED: dict[str, tuple[Make, tuple[int, ...], str]] = {
    "a transposed volume": (
        lambda: nn.ConvTranspose3d(3, 2, 2), (3, 4, 4, 4),
        "torch.nn.functional.conv_transpose3d has no rule yet, at unknown place; a 3-D transposed "
        "convolution has no rule yet; add up 2-D ones of each depth",
    ),
    "statistics of the batch": (
        lambda: _after(nn.BatchNorm2d(6, track_running_stats=False)), IMAGE,
        "batch_norm uses the statistics of the batch, so that images would not be independent, "
        "at 1; keep running statistics (track_running_stats=True)",
    ),
    "unpooling": (
        _Unpooled, (3, 9, 9),
        "torch.nn.functional.max_unpool2d has no rule yet, at unpool, "
        "tests/support/convolutional.py:LINE; put the entries back by their indices, with scatter "
        "on the flattened map",
    ),
}  # fmt: skip
