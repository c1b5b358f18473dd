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

OTHERS = 3  # classes beside an object's own


@dataclass(frozen=True)
class Sensitivity:
    """Of one object: how alike its map is to those of other questions.

    `class_correlation`: mean |Pearson correlation| of its map with those of the same query's other
    classes, `class_likeness` the same with its sign: maps of contrasts may be each other's
    opposite; `rank_one`: the share of the first singular value in the energy of all of these maps,
    1 where they are multiples of one map; `query_correlation`: mean |correlation| with the maps of
    the same class at the queries of the image's other objects, None where there is none. Positive
    rules converge to maps that no longer depend on the class (Sixt et al. 2020, 1912.09818).
    """

    class_correlation: float | None
    class_likeness: float | None
    rank_one: float | None
    query_correlation: float | None


@dataclass(frozen=True, eq=False)
class Asked:
    """Of one object: the maps of its own class and of others, [1 + OTHERS, H, W], and of its class
    at other queries, [n, H, W]."""

    classes: Tensor
    queries: Tensor

    def sensitivity(self) -> Sensitivity:
        """The figures of these maps."""
        own = self.classes[0]
        return Sensitivity(
            _mean_alike(own, self.classes[1:]),
            _mean_alike(own, self.classes[1:], signed=True),
            rank_one(self.classes),
            _mean_alike(own, self.queries),
        )


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
        for maps, image in zip(method.of_pairs(state, flat), wanted, strict=True):
            left, found = iter(maps), []
            for own, more in image:
                classes = torch.stack([next(left) for _ in own])
                queries = [next(left) for _ in more]
                found.append(Asked(classes, torch.stack(queries) if queries else classes[:0]))
            yield found


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
