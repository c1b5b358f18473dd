"""Maps that explain nothing: what a method has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.commands.evaluate.methods import Maps
from lrpc.commands.evaluate.model import Picture, Subject
from lrpc.commands.session.metrics import box_mask

KINDS = ("own_box", "own_mask", "edges", "centre")


@dataclass(frozen=True)
class Trivial:
    """The detection's own box or mask (its box, where there is none), the edges of the image, or
    its centre."""

    name: str
    passes: float = 0

    def maps(self, pictures: Sequence[Picture]) -> Maps:
        """What a kind shows depends on the image and the detection alone, not on its class."""
        return [[self._map(picture, s) for s in picture.subjects] for picture in pictures]

    def _map(self, picture: Picture, subject: Subject) -> Tensor:
        if self.name == "edges":
            return sobel(picture.image.pixels)
        if self.name == "centre":
            return centre(picture.frame, picture.image.valid)
        mask = subject.detection.mask
        if self.name == "own_mask" and mask is not None and mask.any():
            return torch.from_numpy(mask).float()
        return box_mask(subject.detection.box, picture.frame).float()


def sobel(pixels: Tensor) -> Tensor:
    """The gradient's magnitude (Sobel & Feldman 1968) of an image's [3, H, W] mean over colours."""
    grey = F.pad(pixels.float().mean(0)[None, None], (1, 1, 1, 1), mode="replicate")
    kernel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    slopes = F.conv2d(grey, torch.stack([kernel, kernel.T])[:, None])
    magnitude: Tensor = slopes[0].norm(dim=0)
    return magnitude


def centre(frame: tuple[int, int], valid: tuple[int, int]) -> Tensor:
    """Larger the nearer to the centre of the visible part, in (0, 1]: [H, W]."""
    rows, columns = (
        (torch.arange(edge) + 0.5) / seen - 0.5 for edge, seen in zip(frame, valid, strict=True)
    )
    return torch.exp(-4 * (rows[:, None] ** 2 + columns**2))
