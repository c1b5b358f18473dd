"""A small model of the zoo: how it is built, what goes in, and what refuses it.

Weights are seeded and perturbed, so that nothing is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tests.support.transformers_models import disturbed, hugging_face

VOCABULARY = 40
NAMES = {"pixels": "pixel_values", "ids": "input_ids", "mel": "input_features",
         "frames": "pixel_values", "wave": "input_values"}  # fmt: skip


class Model(Protocol):
    """What the zoo holds."""

    @property
    def given(self) -> str:
        """What goes in: pixels, ids, mel, frames, wave."""

    @property
    def size(self) -> tuple[int, ...]:
        """The size of an image, a text or a sound."""

    @property
    def refused(self) -> str:
        """The start of the line that refuses it; empty where it compiles."""

    def make(self) -> nn.Module:
        """The model as its package builds it, with random weights."""

    def call(self, model: nn.Module, x: Tensor) -> Tensor:
        """Its output."""


class Called(nn.Module):
    """A model that takes one tensor and gives one."""

    def __init__(self, model: nn.Module, entry: Model) -> None:
        super().__init__()
        self.model, self.entry = model, entry

    def forward(self, x: Tensor) -> Tensor:
        return self.entry.call(self.model, x)


def built(entry: Model) -> nn.Module:
    """The model of an entry, in float64."""
    torch.manual_seed(0)
    return Called(trained(disturbed(entry.make())), entry).eval()


def trained(model: nn.Module) -> nn.Module:
    """`model` with batch norms that have seen data: their buffers are neither 0 nor 1."""
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        buffers = dict(module.named_buffers(recurse=False))
        for name, buffer in buffers.items() if "running_var" in buffers else ():
            if buffer.is_floating_point():
                more = torch.rand(buffer.shape, generator=generator).to(buffer)
                buffer.add_(0.2 * more if name == "running_var" else 0.2 * more - 0.1)
    return model


def example(entry: Model, images: int = 2, seed: int = 3) -> Tensor:
    """Inputs of an entry."""
    generator = torch.Generator().manual_seed(seed)
    if entry.given == "ids":
        return torch.randint(1, VOCABULARY, (images, *entry.size), generator=generator)
    return torch.randn(images, *entry.size, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Entry:
    """A model of transformers by its class and its configuration's, the options that make it small,
    what goes in and its size, the output, and what the call takes besides."""

    kind: str
    config: str
    options: Mapping[str, Any]
    output: str = "logits"
    given: str = "pixels"
    size: tuple[int, ...] = (3, 32, 32)
    more: Mapping[str, Any] = field(default_factory=dict)
    attention: str = ""
    config_of: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    refused: str = ""
    fading: bool = False  # where images would fade behind convolutions of small weights

    def make(self) -> nn.Module:
        package = hugging_face()
        options = dict(self.options)
        for key, (config, inner) in self.config_of.items():
            options[key] = getattr(package, config)(**inner)
        config = getattr(package, self.config)(**options)
        if self.attention:
            config._attn_implementation = self.attention
        model: nn.Module = getattr(package, self.kind)(config)
        for layer in model.modules() if self.fading else ():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        return model

    def call(self, model: nn.Module, x: Tensor) -> Tensor:
        result: Tensor = model(**{NAMES[self.given]: x}, **self.more)[self.output]
        return result


@dataclass(frozen=True)
class Made:
    """A model of another package by the function that makes it."""

    make: Callable[[], nn.Module]
    size: tuple[int, ...] = (3, 64, 64)
    calls: Callable[[Any, Tensor], Tensor] = lambda model, x: model(x)
    given: str = "pixels"
    refused: str = ""

    def call(self, model: nn.Module, x: Tensor) -> Tensor:
        return self.calls(model, x)
