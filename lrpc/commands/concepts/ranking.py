"""Which channels matter for a class, and in which detections a channel is seen best.

RelMax and ActMax: Achtibat et al. 2023 (10.1038/s42256-023-00711-8), section "Relevance
maximisation": reference samples of a channel are those with the largest relevance, or activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrpc.commands.concepts.store import Sample, Vector


@dataclass(frozen=True, eq=False)
class ClassRanking:
    """A class at a place: the mean share of relevance and mean activation of each channel over its
    samples, and the channels from the largest of each on."""

    label: int
    place: str
    samples: tuple[Sample, ...]
    relevance: Vector
    activation: Vector

    @property
    def by_relevance(self) -> list[int]:
        """Channels, the most relevant first."""
        return [int(c) for c in np.argsort(-self.relevance, kind="stable")]

    @property
    def by_activation(self) -> list[int]:
        """Channels, the most active first."""
        return [int(c) for c in np.argsort(-self.activation, kind="stable")]

    def references(self, channel: int, count: int, by: str) -> list[Sample]:
        """The samples with the largest relevance (`relmax`) or activation (`actmax`) of a channel,
        one of each image at most."""
        values = [value_of(one, self.place, channel, by) for one in self.samples]
        found: dict[int, Sample] = {}
        for i in np.argsort(-np.array(values), kind="stable"):
            found.setdefault(self.samples[int(i)].image, self.samples[int(i)])
        return list(found.values())[:count]


def value_of(sample: Sample, place: str, channel: int, by: str) -> float:
    """What a sample is ranked by for a channel."""
    if by == "actmax":
        return float(sample.activation[place][channel])
    return float(sample.shares(place)[channel])


def rankings(found: Sequence[Sample], places: Sequence[str]) -> list[ClassRanking]:
    """All classes at all places, by class."""
    ranked = []
    for label in sorted({one.label for one in found}):
        own = tuple(one for one in found if one.label == label)
        for place in places:
            relevance = np.mean([one.shares(place) for one in own], axis=0)
            activation = np.mean([one.activation[place] for one in own], axis=0)
            ranked.append(ClassRanking(label, place, own, relevance, activation))
    return ranked
