"""Results at their final size, which parts are written into as they come: none is held twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lrpc.runtime.results import Ledger, Relevance


@dataclass
class Room:
    """Relevance in `images` images, part by part. Each tensor is [K, B, ...], or has its images
    along another axis, which `axes` names."""

    images: int
    axes: Mapping[str, int] = field(default_factory=dict)
    whole: Relevance | None = None
    amounts: Tensor | None = field(default=None, repr=False)  # the ledger's, [rows, K, B]

    def put(self, part: Relevance, seeds: range, count: int, images: range) -> None:
        """Write the relevance of some of `count` seeds in some images; what is all of it is kept as
        it is."""
        if (len(seeds), len(images)) == (count, self.images):
            self.whole = part
            return
        if self.whole is None:
            self.whole = self._room_for(part, count, len(images))
        for into, given in ((self.whole.inputs, part.inputs), (self.whole.layers, part.layers)):
            for name, value in given.items():
                axis = self.axes.get(name, 1)
                each = value.shape[axis] // len(images)  # entries of one image
                own = into[name][seeds.start : seeds.stop]
                own.narrow(axis, images.start * each, len(images) * each).copy_(value)
        if part.ledger is not None and self.amounts is not None:
            here = (slice(seeds.start, seeds.stop), slice(images.start, images.stop))
            self.amounts[:, here[0], here[1]] = torch.stack(list(_amounts(part.ledger)))

    def _room_for(self, part: Relevance, seeds: int, images: int) -> Relevance:
        shape = (seeds, self.images)
        inputs, layers = (self._wide(p, seeds, images) for p in (part.inputs, part.layers))
        if part.ledger is None:
            return Relevance(inputs, layers, None)
        count, like = len(part.ledger.rows) + 2, part.ledger.start
        self.amounts = like.new_empty((count, *shape))
        start, end, *rest = self.amounts
        rows = [(*row[:3], a) for row, a in zip(part.ledger.rows, rest, strict=True)]
        return Relevance(inputs, layers, Ledger(start, end, rows))

    def _wide(self, parts: Mapping[str, Tensor], seeds: int, images: int) -> dict[str, Tensor]:
        shapes = {name: [seeds, *t.shape[1:]] for name, t in parts.items()}
        for name, shape in shapes.items():
            axis = self.axes.get(name, 1)
            shape[axis] = shape[axis] // images * self.images
        return {name: t.new_empty(shapes[name]) for name, t in parts.items()}


def _amounts(ledger: Ledger) -> Iterator[Tensor]:
    yield from (ledger.start, ledger.end)
    yield from (row[3] for row in ledger.rows)


def batch_axes(shapes: Mapping[str, Sequence[int | str]]) -> dict[str, int]:
    """The axis of the images in each tensor that has one."""
    return {name: shape.index("B") for name, shape in shapes.items() if "B" in shape}


def apart(
    inputs: Mapping[str, Tensor], axes: Mapping[str, int], count: int
) -> Iterator[dict[str, Tensor]]:
    """The inputs of `count` images at a time."""
    batch = next(inputs[name].shape[axis] for name, axis in axes.items())
    for first in range(0, batch, count):
        size = min(count, batch - first)
        yield {name: t.narrow(axes[name], first, size) for name, t in inputs.items()}


def apart_from(kept: Sequence[Tensor], outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The outputs, copied where a program keeps their memory for later calls."""
    places = {x.untyped_storage().data_ptr() for x in kept}
    own = {k: v.untyped_storage().data_ptr() in places for k, v in outputs.items()}
    return {k: v.clone() if own[k] else v for k, v in outputs.items()}


@dataclass
class Outputs:
    """The outputs for `images` images, part by part; `types` are as in f32[B,300,80]."""

    images: int
    types: Mapping[str, str]
    whole: dict[str, Tensor] = field(default_factory=dict)
    first: int = 0

    def put(self, part: Mapping[str, Tensor]) -> None:
        """Write those for the images that come next."""
        axes = batch_axes({k: v.split("[")[1][:-1].split(",") for k, v in self.types.items()})
        count = 0
        for name, value in part.items():
            if name not in axes:
                self.whole.setdefault(name, value)
                continue
            axis, count = axes[name], value.shape[axes[name]]
            if name not in self.whole:
                shape = (*value.shape[:axis], self.images, *value.shape[axis + 1 :])
                self.whole[name] = value.new_empty(shape)
            self.whole[name].narrow(axis, self.first, count).copy_(value)
        self.first += count
