"""Conditional relevance of references: concept maps, crops, context, edges between places."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lrpc.commands.concepts.gather import PlaceAxes, Sample, Vector, loaded
from lrpc.commands.jobs.sources.items import Item
from lrpc.commands.session.calls import one_line
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.members import Member
from lrpc.commands.session.original import original_box, original_map
from lrpc.commands.session.session import Session
from lrpc.config.target_kinds import KINDS
from lrpc.program.protocol import State


@dataclass(frozen=True)
class Pair:
    """A detection and a channel of a place that its relevance is to pass through."""

    sample: Sample
    place: str
    channel: int


@dataclass(frozen=True, eq=False)
class ConceptMap:
    """Relevance of a pair: `values` [h, w] at the image on disk, the share of its positive part
    outside the object (None where there is none), and the relevance of every channel at the next
    place below."""

    pair: Pair
    values: NDArray[np.float64]
    context: float | None
    below: Vector | None


def concept_maps(
    session: Session, items: Sequence[Item], pairs: Iterable[Pair], places: Sequence[PlaceAxes]
) -> Iterator[ConceptMap]:
    """The maps of all pairs, image by image: pairs of one target go together, as many as the
    program takes at once."""
    of_image: dict[int, list[Pair]] = defaultdict(list)
    for pair in dict.fromkeys(pairs):
        of_image[pair.sample.image].append(pair)
    member = session.members[0]
    for number in sorted(of_image):
        image = loaded(session, items[number])
        state = member.forward_of([image])
        groups: dict[tuple[str, Any, bool], list[Pair]] = defaultdict(list)
        for pair in of_image[number]:
            seed = pair.sample.seed
            groups[seed.kind, seed.layer, seed.start is None].append(pair)
        for group in groups.values():
            yield from _maps(member, state, image, group, places)


def _maps(
    member: Member,
    state: State,
    image: LoadedImage,
    pairs: Sequence[Pair],
    places: Sequence[PlaceAxes],
) -> Iterator[ConceptMap]:
    order = {place.name: n for n, place in enumerate(places)}
    for first, result in conditional(member, state, pairs, [place.name for place in places]):
        for k in range(result.input.shape[0]):
            pair = pairs[first + k]
            values = original_map(result.input[k, 0].cpu(), image).double().numpy()
            lower = order[pair.place] + 1
            below = None
            if lower < len(places):
                found = result.layers[places[lower].name][k, 0]
                below = places[lower].by_channel(found).sum(1).numpy()
            yield ConceptMap(pair, values, context_of(values, pair.sample, image), below)


def conditional(
    member: Member, state: State, pairs: Sequence[Pair], read: Sequence[str]
) -> Iterator[tuple[int, Any]]:
    """Relevance of pairs of one target in one image, [K, 1, ...], with the number of the first."""
    program: Any = member.program
    seed = pairs[0].sample.seed
    if seed.start is None:
        how, given = "at", torch.tensor([[pair.sample.seed.index] for pair in pairs])  # [K, 1, n]
    else:
        how, given = "seeds", torch.stack([_start(pair)[None] for pair in pairs])
    options: dict[str, Any] = {} if seed.layer is None else {"layer": seed.layer}
    options |= {"read": [*member.facts.places.inputs, *read]}
    if member.composite is not None:
        options["composite"] = member.composite
    target = KINDS[seed.kind].weighs or seed.kind
    step = max(1, program.at_once(target, len(pairs), 1, state=state, **options))
    for first in range(0, len(pairs), step):
        some = pairs[first : first + step]
        condition = [{pair.place: [pair.channel]} for pair in some]
        start: Any = {how: given[first : first + step], "condition": condition}
        with one_line():
            result = program.relevance(state, target, **start, **options)
        yield first, result


def _start(pair: Pair) -> Tensor:
    """Relevance of the whole output of a pair's target."""
    start = pair.sample.seed.start
    assert start is not None  # that of one group all have
    return start


def context_of(values: NDArray[np.float64], sample: Sample, image: LoadedImage) -> float | None:
    """The share of positive relevance outside the object's mask, or its box (L-CRP, Dreyer et al.
    2023, 2211.11426); None where there is neither, or nothing positive."""
    inside, positive = object_of(sample, image, values.shape), np.maximum(values, 0.0)
    total = float(positive.sum())
    if inside is None or total <= 0:
        return None
    return float(1 - positive[inside].sum() / total)


def object_of(sample: Sample, image: LoadedImage, shape: Sequence[int]) -> NDArray[np.bool_] | None:
    """The pixels of a detection's mask, or of its box, in the image on disk [h, w]."""
    one = sample.seed.detection
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
