"""What was found, as rows of the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lrpc.commands.concepts.prototypes import Prototypes
from lrpc.commands.concepts.ranking import ClassRanking, value_of
from lrpc.commands.concepts.store import ConceptMap, Pair, Sample

BY = ("relmax", "actmax")
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Findings:
    """All of a data set: rankings, the maps of references, mixtures by class and place, the places
    in the order in which relevance passes them, and the names of classes."""

    ranked: Sequence[ClassRanking]
    maps: Mapping[Pair, ConceptMap]
    mixtures: Mapping[tuple[int, str], Prototypes | None]
    places: Sequence[str]
    classes: Sequence[str]

    def name(self, label: int) -> str:
        """What a class is called."""
        known = 0 <= label < len(self.classes)
        return self.classes[label] if known else f"class {label}" if label >= 0 else "no class"

    @cached_property
    def _of_channel(self) -> dict[tuple[int, str, int], list[ConceptMap]]:
        found: dict[tuple[int, str, int], list[ConceptMap]] = {}
        for pair, one in self.maps.items():
            found.setdefault((pair.sample.label, pair.place, pair.channel), []).append(one)
        return found

    def context(self, one: ClassRanking, channel: int) -> float | None:
        """The context score of a channel: the mean over the maps of its references."""
        found = self._of_channel.get((one.label, one.place, channel), [])
        scores = [each.context for each in found if each.context is not None]
        return float(np.mean(scores)) if scores else None

    def concepts(self) -> Iterator[Row]:
        """Every channel of every class and place."""
        for one in self.ranked:
            ranks = [np.argsort(order) for order in (one.by_relevance, one.by_activation)]
            for channel in range(len(one.relevance)):
                yield {
                    "class": one.label,
                    "class_name": self.name(one.label),
                    "place": one.place,
                    "channel": channel,
                    "samples": len(one.samples),
                    "relevance": float(one.relevance[channel]),
                    "relevance_rank": int(ranks[0][channel]),
                    "activation": float(one.activation[channel]),
                    "activation_rank": int(ranks[1][channel]),
                    "context": self.context(one, channel),
                }

    def references(self, concepts: int, references: int) -> Iterator[Row]:
        """The references of the first concepts of every class and place."""
        for one in self.ranked:
            for channel in one.by_relevance[:concepts]:
                for by in BY:
                    for rank, sample in enumerate(one.references(channel, references, by)):
                        pair = Pair(sample, one.place, channel)
                        yield {
                            "class": one.label,
                            "place": one.place,
                            "channel": channel,
                            "by": by,
                            "rank": rank,
                            "value": value_of(sample, one.place, channel, by),
                            **_of(sample),
                            "context": self.maps[pair].context,
                            "crop": self.maps[pair].crop,
                        }

    def edges(self) -> Iterator[Row]:
        """The attribution graph: from each channel with maps to all of the next place below
        (Achtibat et al. 2023, CRP, "attribution graphs")."""
        below = dict(zip(self.places, self.places[1:], strict=False))
        for (label, place, channel), maps in self._of_channel.items():
            tables = [one.below for one in maps if one.below is not None]
            if place not in below or not tables:
                continue
            shares = np.mean([t / max(np.abs(t).sum(), 1e-300) for t in tables], axis=0)
            for lower, share in enumerate(shares):
                yield {
                    "class": label,
                    "place": place,
                    "channel": channel,
                    "below": below[place],
                    "channel_below": lower,
                    "share": float(share),
                }

    def vectors(self) -> Iterator[Row]:
        """Every detection at every place."""
        for one in self.ranked:
            mixture = self.mixtures[one.label, one.place]
            outliers = {id(s) for s, _ in mixture.outliers} if mixture else set()
            for n, sample in enumerate(one.samples):
                yield {
                    **_of(sample),
                    "class": one.label,
                    "place": one.place,
                    "relevance": sample.relevance[one.place].tolist(),
                    "activation": sample.activation[one.place].tolist(),
                    "likelihood": mixture.likelihood[n] if mixture else None,
                    "outlier": id(sample) in outliers if mixture else None,
                }

    def prototypes(self) -> Iterator[Row]:
        """Every prototype, with the detection nearest to it."""
        for (label, place), mixture in self.mixtures.items():
            for number, one in enumerate(mixture.found if mixture else ()):
                yield {
                    "class": label,
                    "place": place,
                    "number": number,
                    "weight": one.weight,
                    "mean": one.mean.tolist(),
                    "samples": len(one.samples),
                    **(_of(one.samples[0]) if one.samples else {}),
                }


def _of(sample: Sample) -> Row:
    return {"image": sample.image, "name": sample.name, "slug": sample.slug}
