"""Prototypes of a class, and what is unlike them: Dreyer et al. 2023 (PCX, 2311.16681).

A Gaussian mixture is fitted to the relevance vectors of a class. Its means are prototypical ways to
decide for the class; the samples nearest to them show them, those of low likelihood are outliers.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrpc.commands.concepts.store import Sample, Vector
from lrpc.errors import ProgramError

LEAST = 8  # samples of a class, below which there are no prototypes
_FENCE = 1.5  # of the distance between quartiles below the first: Tukey's outliers


@dataclass(frozen=True, eq=False)
class Prototype:
    """A mean of the mixture: its weight, the samples that it explains, the nearest first."""

    mean: Vector
    weight: float
    samples: tuple[Sample, ...]


@dataclass(frozen=True, eq=False)
class Prototypes:
    """Those of a class at a place, its samples' log likelihoods, and its outliers, the least likely
    first."""

    found: tuple[Prototype, ...]
    likelihood: tuple[float, ...]
    outliers: tuple[tuple[Sample, float], ...]


def prototypes(samples: Sequence[Sample], place: str, most: int) -> Prototypes | None:
    """The mixture with the smallest BIC of 1 to `most` components with diagonal covariances, over
    the shares of the channels in units of their spread; None for few samples."""
    if len(samples) < LEAST:
        return None
    table = np.stack([one.shares(place) for one in samples])
    scale = max(float(table.std()), 1e-300)
    mixture = _mixtures()
    counts = range(1, min(most, len(samples) // 4) + 1)
    fits = [
        mixture(count, covariance_type="diag", reg_covar=1e-3, n_init=3, random_state=0).fit(
            table / scale
        )
        for count in counts
    ]
    best = min(fits, key=lambda fit: fit.bic(table / scale))
    labels, likelihood = best.predict(table / scale), best.score_samples(table / scale)
    found = []
    for k in np.argsort(-best.weights_, kind="stable"):
        apart = ((table / scale - best.means_[k]) ** 2).sum(1)
        order = [int(i) for i in np.argsort(apart, kind="stable") if labels[i] == k]
        mean, weight = np.asarray(best.means_[k] * scale), float(best.weights_[k])
        found.append(Prototype(mean, weight, tuple(samples[i] for i in order)))
    first, third = np.quantile(likelihood, [0.25, 0.75])
    low = [int(i) for i in np.argsort(likelihood, kind="stable")]
    odd = [i for i in low if likelihood[i] < first - _FENCE * (third - first)]
    outliers = tuple((samples[i], float(likelihood[i])) for i in odd)
    return Prototypes(tuple(found), tuple(map(float, likelihood)), outliers)


def _mixtures() -> type:
    try:
        found: type = importlib.import_module("sklearn.mixture").GaussianMixture
    except ImportError as error:
        raise ProgramError("prototypes need sklearn: pip install 'lrpc[report]'") from error
    return found
