"""Pixels as networks take them."""

from __future__ import annotations

from torch import Tensor, nn


class Normalize(nn.Module):
    """(image − mean) / std; its output is where pixel relevance is read."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        # Not part of the state dict: checkpoints take both from the configuration.
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """RGB in 0–255 [B, 3, H, W] → the normalised image [B, 3, H, W]."""
        return (images - self.mean) / self.std
