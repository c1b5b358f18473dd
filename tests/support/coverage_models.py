"""The models that docs/coverage.md looks into: name, and what imports it as a module of the IR."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.config import load_config
from lrpc.frontend import import_model
from lrpc.ir.graph import Module
from lrpc.models.sources import build_model
from tests.support.programs import DIGITS, FULL
from tests.support.tiny import tiny
from tests.support.torchvision_shim import torchvision_models


def imported(model: nn.Module, inputs: Mapping[str, Tensor]) -> Module:
    """The module of a model in evaluation mode, without gradients."""
    return import_model(model.eval().requires_grad_(False), inputs).module


def maskdino(config: Path, height: int, width: int) -> Module:
    model, _ = build_model(load_config(config, []))
    return imported(model, {"images": torch.rand(1, 3, height, width) * 255})


def transformer() -> Module:
    model, images = tiny()
    return imported(model, {"images": images})


def torchvision(name: str, size: int, **options: Any) -> Module:
    """A model of torchvision by name, with seeded weights."""
    models = torchvision_models()
    torch.manual_seed(0)
    return imported(getattr(models, name)(**options), {"x": torch.rand(1, 3, size, size)})


class Tokens(nn.Module):
    """BERT of two layers; tokens to logits, padding masked."""

    def __init__(self) -> None:
        super().__init__()
        torchvision_models()  # transformers imports torchvision where it is there
        package = importlib.import_module("transformers")
        settings = package.BertConfig(
            vocab_size=40,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=16,
        )
        torch.manual_seed(0)
        self.model = package.BertForSequenceClassification(settings)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=tokens, attention_mask=mask).logits
        return logits


def bert() -> Module:
    tokens = torch.arange(9)[None]
    return imported(Tokens(), {"tokens": tokens, "mask": (tokens < 7).long()})


class UNet(nn.Module):
    """Two scales down and up again, each with a skip that is concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([self._block(3, 4), self._block(4, 8)])
        self.middle = self._block(8, 8)
        self.up = nn.ModuleList([nn.ConvTranspose2d(8, 8, 2, 2), nn.ConvTranspose2d(8, 4, 2, 2)])
        self.joined = nn.ModuleList([self._block(16, 8), self._block(8, 4)])
        self.head = nn.Conv2d(4, 2, 1)

    @staticmethod
    def _block(inside: int, outside: int) -> nn.Sequential:
        convolution = nn.Conv2d(inside, outside, 3, padding=1)
        return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block in self.down:
            skips.append(block(x))
            x = nn.functional.max_pool2d(skips[-1], 2)
        x = self.middle(x)
        for up, block, skip in zip(self.up, self.joined, reversed(skips), strict=True):
            x = block(torch.cat([up(x), skip], 1))
        head: Tensor = self.head(x)
        return head


def u_net() -> Module:
    torch.manual_seed(0)
    return imported(UNet(), {"x": torch.rand(1, 3, 16, 16)})


VIT = {
    "image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16,
    "mlp_dim": 24,
}  # fmt: skip

MODELS: tuple[tuple[str, Callable[[], Module]], ...] = (
    ("MaskDINO, digits", lambda: maskdino(DIGITS, 160, 160)),
    ("MaskDINO, R50", lambda: maskdino(FULL, 128, 160)),
    ("tiny transformer", transformer),
    ("VGG-11 BN", lambda: torchvision("vgg11_bn", 32)),
    ("ResNet-18", lambda: torchvision("resnet18", 32)),
    ("ViT", lambda: torchvision("VisionTransformer", 32, **VIT)),
    ("BERT", bert),
    ("U-Net", u_net),
)
