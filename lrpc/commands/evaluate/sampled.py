"""Baselines that are sampled: SmoothGrad of a gradient program, and D-RISE of a black box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.commands.evaluate.methods import Maps, followed, generator_for
from lrpc.commands.evaluate.model import Picture, Trial, scores_of_one
from lrpc.commands.session.calls import Request
from lrpc.commands.session.members import Member
from lrpc.program.protocol import Size


@dataclass(frozen=True, eq=False)
class SmoothGrad:
    """SmoothGrad (Smilkov et al. 2017, 1706.03825) times the input: x ⊙ mean ∂f(x + noise).

    `model` is a program of gradient × input, whose input is zero at the mean colour. The noise is
    Gaussian with `spread` of the image's range. The object is followed from query to query.
    """

    model: Member
    samples: int
    batch: int
    seed: int
    spread: float = 0.15
    name: str = "smoothgrad"

    @property
    def passes(self) -> float:
        """Forward passes for each image."""
        return self.samples

    def maps(self, pictures: Sequence[Picture]) -> Maps:
        """So many samples at a time that `batch` maps or fewer are under way."""
        return [self._picture(picture) for picture in pictures]

    def _picture(self, picture: Picture) -> list[Tensor]:
        pixels = picture.image.pixels.float()
        mean = pixels.new_tensor(self.model.facts.sizing.mean)[:, None, None]
        generator = generator_for(picture.image.path.name, self.seed)
        sigma = self.spread * float(pixels.max() - pixels.min())
        total = torch.zeros(len(picture.subjects), *pixels.shape, dtype=torch.float64)
        together = max(1, self.batch // len(picture.subjects))
        for first in range(0, self.samples, together):
            count = min(together, self.samples - first)
            noise = torch.randn((count, *pixels.shape), generator=generator) * sigma
            images = pixels + noise
            state = self.model.forward(images, [picture.image.attended] * count)
            seeds = followed(state, picture, self.model)
            found = self.model.relevance(state, seeds, Request(ledger=False))
            products = torch.stack([torch.stack([k.input for k in one]) for one in found], 1)
            away = (images - mean).double()
            away = torch.where(away.abs() < 1e-3, 1e-3, away)  # R is 0 there, and no gradient known
            total += (products.double() / away).sum(1)
        return list((total * (pixels - mean) / self.samples).float().sum(1))


@dataclass(frozen=True)
class DRise:
    """D-RISE (Petsiuk et al. 2021, 2006.03204): how much of the object is found again in images
    under random masks, as weights of the masks.

    Masks are grids of `cells` × `cells`, each cell kept with probability `kept`, shifted and
    resized bilinearly; what is masked has the mean colour. One image's masks serve all of its
    objects. It knows nothing of the model but its outputs.
    """

    model: Member
    samples: int
    batch: int
    seed: int
    cells: int = 16
    kept: float = 0.5
    name: str = "drise"

    @property
    def passes(self) -> float:
        """Forward passes for each image."""
        return self.samples

    def maps(self, pictures: Sequence[Picture]) -> Maps:
        """`samples` forward passes for each picture and object."""
        return [self._picture(picture) for picture in pictures]

    def _picture(self, picture: Picture) -> list[Tensor]:
        mean = picture.image.pixels.new_tensor(self.model.facts.sizing.mean)[:, None, None]
        generator = generator_for(picture.image.path.name, self.seed)
        totals = [torch.zeros(picture.frame) for _ in picture.subjects]
        for mask in self._masks(picture.frame, generator):
            pixels = mean + mask * (picture.image.pixels - mean)
            trials = [
                Trial(pixels, picture.image.attended, s.detection, s.truth.label)
                for s in picture.subjects
            ]
            found = scores_of_one(self.model, trials)
            for total, score in zip(totals, found, strict=True):
                total += score * mask
        return totals

    def _masks(self, frame: Size, generator: torch.Generator) -> Iterator[Tensor]:
        height, width = frame
        tall, wide = -(-height // self.cells), -(-width // self.cells)
        for _ in range(self.samples):
            grid = torch.rand((self.cells + 1, self.cells + 1), generator=generator) < self.kept
            size = ((self.cells + 1) * tall, (self.cells + 1) * wide)
            large = F.interpolate(grid.float()[None, None], size, mode="bilinear")[0, 0]
            y = int(torch.randint(tall, (), generator=generator))
            x = int(torch.randint(wide, (), generator=generator))
            yield large[y : y + height, x : x + width]
