"""Conditional relevance of references: concept maps, crops, context, edges between places."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lrpc.commands.concepts.gather import PlaceAxes, Tell
from lrpc.commands.concepts.store import ConceptMap, Pair, Store
from lrpc.commands.jobs.sources.items import Item
from lrpc.commands.session.batches import process
from lrpc.commands.session.calls import Explained, Request
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.original import original_box, original_map
from lrpc.commands.session.seeds import Channel, Seed
from lrpc.commands.session.session import Session
from lrpc.errors import ProgramError
from lrpc.program.protocol import Detection
from lrpc.results import colour

_CROP, _SHARE, _LEAST = 112, 0.3, 24  # pixels; edge of a crop in the image, at least so many


class Job(NamedTuple):
    """An image with the pairs that maps are wanted of."""

    number: int
    item: Item
    pairs: tuple[Pair, ...]


def concept_maps(
    session: Session,
    items: Sequence[Item],
    pairs: Iterable[Pair],
    places: Sequence[PlaceAxes],
    store: Store,
    tell: Tell,
) -> dict[Pair, ConceptMap]:
    """The maps of all pairs, images of one size together. What the store knows is not computed
    again. Raises ProgramError where an image cannot be explained again, and Stopped."""
    work = _Mapping(session, places, store, tell)
    of_image: dict[int, list[Pair]] = defaultdict(list)
    for pair in dict.fromkeys(pairs):
        of_image[pair.sample.image].append(pair)
    todo = []
    for number, wanted in sorted(of_image.items()):
        known = store.maps(number, items[number])
        work.found.update({pair: known[pair.key] for pair in wanted if pair.key in known})
        rest = tuple(pair for pair in wanted if pair not in work.found)
        tell(len(wanted) - len(rest), items[number].name)
        if rest:
            todo.append((Path(items[number].name), Job(number, items[number], rest)))
    batch = session.options.batch_size
    process(todo, work, session.sizing, batch, read=lambda job: job.item.read())
    return work.found


@dataclass(frozen=True)
class _Mapping:
    """Images as `process` takes them."""

    session: Session
    places: Sequence[PlaceAxes]
    store: Store
    tell: Tell
    found: dict[Pair, ConceptMap] = field(default_factory=dict)

    def explain(self, images: Sequence[LoadedImage], jobs: Sequence[Job]) -> list[list[Explained]]:
        member = self.session.members[0]
        state = member.forward_of(images)
        _, seeds = self.session.seeds(state, images)
        channels = {place.name: place.channels for place in self.places}
        wanted = [
            [_through(own, pair, channels[pair.place]) for pair in job.pairs]
            for job, own in zip(jobs, seeds, strict=True)
        ]
        asked = Request(tuple(channels), ledger=False, chunk=self.session.options.request.chunk)
        return member.relevance(state, wanted, asked)

    def keep(self, image: LoadedImage, job: Job, result: list[Explained]) -> None:
        photo = job.item.photo()
        made = {}
        for pair, one in zip(job.pairs, result, strict=True):
            values = original_map(one.input, image).double().numpy()
            crop = f"crops/{job.number:06}-{_file(pair)}.webp"
            _crop(photo, values).save(self.store.root / crop, quality=80)
            context = context_of(values, one.seed.detection, image)
            made[pair] = ConceptMap(context, self._below(pair, one), crop)
        known = self.store.maps(job.number, job.item)
        own = {pair.key: one for pair, one in made.items()}
        self.store.keep_maps(job.number, job.item, known | own)
        self.found.update(made)
        self.tell(len(made), job.item.name)

    def _below(self, pair: Pair, one: Explained) -> NDArray[np.float64] | None:
        """The relevance of every channel at the next place that it passes."""
        names = [place.name for place in self.places]
        lower = names.index(pair.place) + 1
        if lower == len(names):
            return None
        found: NDArray[np.float64]
        found = self.places[lower].by_channel(one.layers[names[lower]]).sum(1).numpy()
        return found

    def fail(self, job: Job, path: Path, error: str) -> None:
        raise ProgramError(f"{job.item.name}: could be explained before: {error}")


def _through(seeds: Sequence[Seed], pair: Pair, channels: int) -> Seed:
    """The seed of a pair: that of its sample, through the channel."""
    for seed in seeds:
        if seed.slug == pair.sample.slug:
            return replace(seed, through=Channel(pair.place, pair.channel, channels))
    raise ProgramError(f"{pair.sample.slug} is not found again; give --overwrite")


def _file(pair: Pair) -> str:
    place = "".join(c if c.isalnum() else "_" for c in pair.place)
    return f"{pair.sample.slug}-{place}-{pair.channel}"


def context_of(
    values: NDArray[np.float64], one: Detection | None, image: LoadedImage
) -> float | None:
    """The share of positive relevance outside the object's mask, or its box (L-CRP, Dreyer et al.
    2023, 2211.11426); None where there is neither, or nothing positive."""
    inside, positive = object_of(one, image, values.shape), np.maximum(values, 0.0)
    total = float(positive.sum())
    if inside is None or total <= 0:
        return None
    return float(1 - positive[inside].sum() / total)


def object_of(
    one: Detection | None, image: LoadedImage, shape: Sequence[int]
) -> NDArray[np.bool_] | None:
    """The pixels of a detection's mask, or of its box, in the image on disk [h, w]."""
    if one is None or (one.box is None and one.original_mask is None):
        return None
    if one.original_mask is not None and one.original_mask.any():
        return one.original_mask
    x0, y0, x1, y1 = original_box(one.box, image)
    inside = np.zeros(tuple(shape), dtype=bool)
    inside[max(0, int(y0)) : int(np.ceil(y1)), max(0, int(x0)) : int(np.ceil(x1))] = True
    return inside


def centre_of(values: NDArray[np.float64], edge: int) -> tuple[int, int]:
    """The top left corner of the square with the most positive relevance."""
    positive = torch.from_numpy(np.maximum(values, 0.0))[None, None]
    height, width = values.shape
    tall, wide = min(edge, height), min(edge, width)
    sums: Tensor = torch.nn.functional.avg_pool2d(positive, (tall, wide), 1)[0, 0]
    where = int(sums.argmax())
    return where // sums.shape[1], where % sums.shape[1]


def _crop(photo: Image.Image, values: NDArray[np.float64]) -> Image.Image:
    """Where a map is strongest: the image, darker where the map is not."""
    edge = max(_LEAST, round(_SHARE * min(values.shape)))
    top, left = centre_of(values, edge)
    box = (left, top, min(left + edge, photo.width), min(top + edge, photo.height))
    here = np.maximum(values[box[1] : box[3], box[0] : box[2]], 0.0)
    most = max(colour.robust_scale(values), 1e-300)
    light = 0.35 + 0.65 * np.clip(here / most, 0, 1)[..., None] ** 0.5
    pixels = np.asarray(photo.convert("RGB").crop(box), np.float64) * light
    picture = Image.fromarray(pixels.round().astype(np.uint8))
    return picture.resize((_CROP, _CROP), Image.Resampling.BILINEAR)
