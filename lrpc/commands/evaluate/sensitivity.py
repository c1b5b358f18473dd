"""Whether maps depend on what was asked: on the class, and on the query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from lrpc.commands.evaluate.likeness import logits_of
from lrpc.commands.evaluate.methods import Relevance, forward
from lrpc.commands.evaluate.model import Picture, in_batches
from lrpc.commands.session.members import outputs_of
from lrpc.commands.session.metrics import cosine
from lrpc.commands.session.seeds import Seed
from lrpc.program.protocol import State

OTHERS = 3  # classes beside an object's own
PIXELS = 4  # of a mask
_MASKS = "mask_logit"


@dataclass(frozen=True)
class Sensitivity:
    """Of one object: how alike its map is to those of other questions.

    `class_correlation`: mean |Pearson correlation| of its map with those of the same query's other
    classes, `class_likeness` the same with its sign: maps of contrasts may be each other's
    opposite; `rank_one`: the share of the first singular value in the energy of all of these maps,
    1 where they are multiples of one map; `query_correlation`: mean |correlation| with the maps of
    the same class at the queries of the image's other objects, None where there is none;
    `pixel_correlation`: mean |correlation| among the maps of mask logits at pixels of its query's
    mask, None where the program has none. Positive rules converge to maps that no longer depend on
    the class (Sixt et al. 2020, 1912.09818).
    """

    class_correlation: float | None
    class_likeness: float | None
    rank_one: float | None
    query_correlation: float | None
    pixel_correlation: float | None = None


@dataclass(frozen=True, eq=False)
class Asked:
    """Of one object: the maps of its own class and of others, [1 + OTHERS, H, W], and of its class
    at other queries, [n, H, W], and of pixels of its query's mask, [m, H, W]."""

    classes: Tensor
    queries: Tensor
    pixels: Tensor | None = None

    def sensitivity(self) -> Sensitivity:
        """The figures of these maps."""
        own = self.classes[0]
        return Sensitivity(
            _mean_alike(own, self.classes[1:]),
            _mean_alike(own, self.classes[1:], signed=True),
            rank_one(self.classes),
            _mean_alike(own, self.queries),
            self._among_pixels(),
        )

    def _among_pixels(self) -> float | None:
        """Of every two pixels."""
        maps = self.classes[:0] if self.pixels is None else self.pixels
        found = [_mean_alike(one, maps[n + 1 :]) for n, one in enumerate(maps[:-1])]
        weights = range(len(maps) - 1, 0, -1)
        known = [(v, w) for v, w in zip(found, weights, strict=True) if v is not None]
        total = sum(w for _, w in known)
        return sum(v * w for v, w in known) / total if total else None


def asked(method: Relevance, pictures: Sequence[Picture]) -> Iterator[list[Asked]]:
    """The maps of other questions for every object of every picture, `method.batch` pictures at a
    time."""
    for some in in_batches(pictures, method.batch):
        state = forward(method.model, some)
        wanted = []
        for b, picture in enumerate(some):
            outputs = outputs_of(state, b)
            wanted.append([_questions(outputs, picture, s) for s in range(len(picture.subjects))])
        flat = [[pair for own, more in image for pair in (*own, *more)] for image in wanted]
        inside = _of_pixels(method, state, some)
        for b, (maps, image) in enumerate(zip(method.of_pairs(state, flat), wanted, strict=True)):
            left, found = iter(maps), []
            for s, (own, more) in enumerate(image):
                classes = torch.stack([next(left) for _ in own])
                queries = [next(left) for _ in more]
                others = torch.stack(queries) if queries else classes[:0]
                found.append(Asked(classes, others, inside[b][s] if inside else None))
            yield found


def _of_pixels(
    method: Relevance, state: State, pictures: Sequence[Picture]
) -> list[list[Tensor | None]]:
    """Of each object's query, the maps of `PIXELS` mask logits that are spread evenly over its mask
    in reading order; None for a smaller mask. Empty where the program does not start there."""
    if _MASKS not in method.model.facts.places.of:
        return []
    seeds: list[list[Seed]] = []
    for b, picture in enumerate(pictures):
        masks = outputs_of(state, b)["pred_masks"]
        height, width = (
            -(-seen * cells // edge)
            for seen, cells, edge in zip(
                picture.image.valid, masks.shape[1:], picture.frame, strict=True
            )
        )
        own: list[Seed] = []
        for subject in picture.subjects:
            query = subject.detection.query
            cells = (masks[query, :height, :width] > 0).nonzero().tolist()
            if len(cells) >= PIXELS:
                steps = [(2 * n + 1) * len(cells) // (2 * PIXELS) for n in range(PIXELS)]
                own += [Seed(_MASKS, None, (query, *cells[step])) for step in steps]
        seeds.append(own)
    if not any(seeds):
        return []
    return [
        _shared_out(picture, one, maps)
        for picture, one, maps in zip(pictures, seeds, method.of_seeds(state, seeds), strict=True)
    ]


def _shared_out(
    picture: Picture, seeds: Sequence[Seed], maps: Sequence[Tensor]
) -> list[Tensor | None]:
    """Maps of one image's seeds, object by object."""
    of_query: dict[int, list[Tensor]] = {}
    for seed, one in zip(seeds, maps, strict=True):
        of_query.setdefault(seed.index[0], []).append(one)
    found = [of_query.get(subject.detection.query) for subject in picture.subjects]
    return [None if own is None else torch.stack(own[:PIXELS]) for own in found]


Pair = tuple[int, int]  # query and class


def _questions(
    outputs: dict[str, Tensor], picture: Picture, number: int
) -> tuple[list[Pair], list[Pair]]:
    """The object's query with its class and the next ones by logit; its class at the queries of the
    others."""
    subject = picture.subjects[number]
    query, label = subject.detection.query, subject.truth.label
    row = logits_of(outputs, query)
    order = [one for one in row.argsort(descending=True).tolist() if one != label]
    others = [s.detection.query for n, s in enumerate(picture.subjects) if n != number]
    apart = [one for one in dict.fromkeys(others) if one != query]
    classes = [(query, one) for one in (label, *order[:OTHERS])]
    return classes, [(one, label) for one in apart]


def rank_one(maps: Tensor) -> float | None:
    """σ₁² / Σ σ² of maps [n, H, W] as rows, each scaled to unit norm; None where one is zero."""
    rows = maps.flatten(1).double()
    norms = rows.norm(dim=1, keepdim=True)
    if len(rows) < 2 or bool((norms == 0).any()):
        return None
    rows = rows / norms
    values = torch.linalg.eigvalsh(rows @ rows.T)
    return float(values[-1] / values.sum())


def correlation(one: Tensor, other: Tensor) -> float | None:
    """Pearson's, of two maps; None where one is constant."""
    return cosine(one.double() - one.double().mean(), other.double() - other.double().mean())


def _mean_alike(own: Tensor, others: Tensor, *, signed: bool = False) -> float | None:
    found = [correlation(own, other) for other in others]
    known = [value if signed else abs(value) for value in found if value is not None]
    return fmean(known) if known else None
