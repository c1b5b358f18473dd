"""Methods to compare: whatever gives a map [H, W] for each object of each picture."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from lrpc.commands.evaluate.likeness import contrasted, likeness, seed_of
from lrpc.commands.evaluate.model import Picture, in_batches
from lrpc.commands.session.calls import Explained, Request
from lrpc.commands.session.members import Member, outputs_of
from lrpc.commands.session.record import amplification
from lrpc.commands.session.seeds import Seed
from lrpc.program.protocol import State

Maps = list[list[Tensor]]  # per picture, per object: [H, W], float, on the CPU


class Method(Protocol):
    """A method that explains detections: any object with a name and `maps`. Where it has `passes`,
    the model's forward passes for each image, they are told beside its seconds."""

    @property
    def name(self) -> str: ...
    def maps(self, pictures: Sequence[Picture]) -> Maps:
        """One map for each subject of each picture; large values support the detection."""
        ...


@dataclass(frozen=True, eq=False)
class Relevance:
    """Relevance of the class logit by a program, summed over colours; `against` other classes,
    where that is given (`contrast`)."""

    model: Member
    batch: int
    chunk: int = 0  # seeds to a call; 0: all
    against: str = ""
    amplified: list[float] = field(default_factory=list)  # of each map: Σ |R| over |start|
    passes: float = 1

    @property
    def name(self) -> str:
        return f"{self.model.name}, {self.against}" if self.against else self.model.name

    def maps(self, pictures: Sequence[Picture]) -> Maps:
        """All objects of `batch` pictures at once."""
        found: Maps = []
        for some in in_batches(pictures, self.batch):
            found += self.of(forward(self.model, some), some)
        return found

    def of(self, state: State, pictures: Sequence[Picture]) -> Maps:
        """The maps of these pictures, from a forward pass of the program on them."""
        pairs = [[(s.detection.query, s.truth.label) for s in p.subjects] for p in pictures]
        found = self._explained(state, pairs)
        self.amplified.extend(amplification(one) or 0.0 for image in found for one in image)
        return [[one.input.sum(0) for one in image] for image in found]

    def of_pairs(self, state: State, pairs: Sequence[Sequence[tuple[int, int]]]) -> Maps:
        """The maps of (query, class), for each image of a forward pass."""
        found = self._explained(state, pairs)
        return [[one.input.sum(0) for one in image] for image in found]

    def of_seeds(self, state: State, seeds: Sequence[Sequence[Seed]]) -> Maps:
        """The maps of any seeds, for each image of a forward pass."""
        request = Request(ledger=False, chunk=self.chunk)
        found = self.model.relevance(state, seeds, request)
        return [[one.input.sum(0) for one in image] for image in found]

    def _explained(
        self, state: State, pairs: Sequence[Sequence[tuple[int, int]]]
    ) -> list[list[Explained]]:
        seeds = [
            [self._seed(state, b, query, label) for query, label in image]
            for b, image in enumerate(pairs)
        ]
        request = Request(ledger=False, chunk=self.chunk)
        return self.model.relevance(state, seeds, request)

    def _seed(self, state: State, image: int, query: int, label: int) -> Seed:
        facts = self.model.facts
        seed, outputs = seed_of(facts, query, label), outputs_of(state, image)
        if not self.against:
            return replace(seed, value=float(outputs[seed.output][seed.index]))
        return contrasted(seed, outputs, self.against, facts.class_count)


def forward(model: Member, pictures: Sequence[Picture]) -> State:
    """The forward pass on a batch of pictures."""
    return model.forward_of([picture.image for picture in pictures])


@dataclass(frozen=True, eq=False)
class IntegratedGradients:
    """Integrated gradients (Sundararajan et al. 2017, 1703.01365, eq. 1) from the mean colour.

    `model` is a program of gradient × input, whose input is zero at the mean colour. Along the path
    the object is followed from query to query by its `likeness`, since a two-stage model selects
    its queries anew for every image. The model's own detached values stay detached.
    """

    model: Member
    steps: int
    batch: int
    name: str = "integrated_gradients"

    @property
    def passes(self) -> float:
        """Forward passes for each image."""
        return self.steps

    def maps(self, pictures: Sequence[Picture]) -> Maps:
        """Midpoints of `steps` equal parts of the path, so many at a time that `batch` maps or
        fewer are under way."""
        return [self._picture(picture) for picture in pictures]

    def _picture(self, picture: Picture) -> list[Tensor]:
        mean = picture.image.pixels.new_tensor(self.model.facts.sizing.mean)[:, None, None]
        total = torch.zeros(len(picture.subjects), *picture.image.pixels.shape)
        together = max(1, self.batch // len(picture.subjects))
        for alphas in torch.split(midpoints(self.steps), together):
            scale = alphas.to(mean.dtype)[:, None, None, None]
            images = mean + scale * (picture.image.pixels - mean)  # [b, 3, H, W]
            state = self.model.forward(images, [picture.image.attended] * len(alphas))
            seeds = followed(state, picture, self.model)
            found = self.model.relevance(state, seeds, Request(ledger=False))
            products = torch.stack([torch.stack([k.input for k in one]) for one in found], 1)
            total += integrate(products.double(), alphas, self.steps).float()
        return list(total.sum(1))


def followed(state: State, picture: Picture, model: Member) -> list[list[Seed]]:
    """In every changed image the class logit of the query that is most each subject."""
    found = []
    for b in range(len(next(iter(state.outputs.values())))):
        frame, seeds = picture.image.frame, []
        outputs = model.framed(state, b, picture.image.attended, frame)
        for s in picture.subjects:
            label = s.truth.label
            held = likeness(outputs, s.detection, label, frame, model.facts.class_count)
            seeds.append(seed_of(model.facts, int(held.argmax()), label))
        found.append(seeds)
    return found


def midpoints(steps: int) -> Tensor:
    """The middles of `steps` equal parts of [0, 1], float64."""
    return (torch.arange(steps, dtype=torch.float64) + 0.5) / steps


def integrate(products: Tensor, alphas: Tensor, steps: int) -> Tensor:
    """This part of the Riemann sum of integrated gradients, from input × gradient on the path.

    `products` [K, b, ...] are (α x) ⊙ ∂f(α x) at `alphas` [b], so that x ⊙ ∂f is products / α; the
    sum over all `steps` of them, over `steps`, is the integral.
    """
    shape = (1, -1, *[1] * (products.dim() - 2))
    return (products / alphas.to(products).view(shape)).sum(1) / steps


@dataclass(frozen=True)
class Random:
    """Uniform noise, as a baseline."""

    seed: int
    name: str = "random"
    passes: float = 0

    def maps(self, pictures: Sequence[Picture]) -> Maps:
        """Each object's noise depends on its name and the seed alone."""
        return [[self._map(p.image.frame, s.truth.name) for s in p.subjects] for p in pictures]

    def _map(self, frame: tuple[int, int], name: str) -> Tensor:
        return torch.rand(frame, generator=generator_for(name, self.seed))


def generator_for(name: str, seed: int) -> torch.Generator:
    """A generator that depends on a name and a seed alone, the same on every machine."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
