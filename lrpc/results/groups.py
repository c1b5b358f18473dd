"""What the targets of a class have in common, and which differ: means, outliers, clusters.

Clusters are those of spectral relevance analysis (Lapuschkin et al. 2019, 1902.10178): spectral
clustering (Ng, Jordan and Weiss 2001) of crops of the maps, on the graph of nearest neighbours by
cosine. Behind how many clusters the largest gap between the eigenvalues of the Laplacian lies, from
two on, so many there are. How far they are apart is another question: a figure says which share of
neighbours are of one cluster, beside what chance would give.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrpc.results.crops import Crop

Features = NDArray[np.float64]
LEAST = 12  # maps of a class, below which they are not clustered
MOST = 2000  # that are clustered; of more, evenly spread ones
_CLUSTERS = 8


@dataclass(frozen=True, eq=False)
class Cluster:
    """Some targets of a class, by their rows' numbers, the most typical first, and the mean of
    their crops."""

    rows: tuple[int, ...]
    mean: Crop


@dataclass(frozen=True, eq=False)
class Group:
    """The targets of one class under one composite: the mean of their crops, the rows least like
    it with their cosines, and clusters (none: too few targets), with the share of nearest
    neighbours that are of one cluster and what chance would give."""

    mean: Crop
    outliers: tuple[tuple[int, float], ...]
    clusters: tuple[Cluster, ...]
    together: float = 1.0
    chance: float = 1.0


@dataclass(frozen=True, eq=False)
class Spectral:
    """The cluster of each row of a table, its spectral embedding [n, clusters], the share of
    nearest neighbours that are of one cluster, and the share that chance would give."""

    labels: NDArray[np.int64]
    embedding: Features
    together: float
    chance: float


def group(rows: Sequence[int], crops: Sequence[Crop], outliers: int = 6) -> Group:
    """What some targets' crops have in common."""
    table = np.stack([crop.ravel() for crop in crops]).astype(np.float64)
    mean = table.mean(0)
    likeness = _cosine(table, mean)
    order = np.argsort(likeness, kind="stable")[: outliers if len(rows) > outliers else 0]
    odd = tuple((rows[i], float(likeness[i])) for i in order)
    if len(rows) < LEAST:
        return Group(_square(mean), odd, ())
    clusters, parts = _clusters(rows, table)
    return Group(_square(mean), odd, tuple(clusters), parts.together, parts.chance)


def _clusters(rows: Sequence[int], table: Features) -> tuple[list[Cluster], Spectral]:
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(MOST, len(rows))).round().astype(int))
    parts = spectral(table[chosen])
    found = []
    for label in range(parts.labels.max() + 1):
        members = chosen[parts.labels == label]
        mean = table[members].mean(0)
        typical = np.argsort(-_cosine(table[members], mean), kind="stable")
        found.append(Cluster(tuple(rows[members[i]] for i in typical), _square(mean)))
    found.sort(key=lambda one: -len(one.rows))
    return found, parts


def spectral(table: Features) -> Spectral:
    """Spectral clustering of the rows of a table, two clusters or more."""
    neighbours = importlib.import_module("sklearn.neighbors")
    cluster = importlib.import_module("sklearn.cluster")
    count = 1 + round(np.log2(len(table)))
    near = neighbours.kneighbors_graph(_unit(table), count).toarray()
    affinity = np.maximum(near, near.T)
    root = 1 / np.sqrt(affinity.sum(1))
    laplacian = np.eye(len(table)) - root[:, None] * affinity * root
    values, vectors = np.linalg.eigh(laplacian)
    most = min(_CLUSTERS, len(table) - 1)
    clusters = int(np.argmax(np.diff(values[1 : most + 1]))) + 2
    means = cluster.KMeans(clusters, n_init=10, random_state=0)
    labels = np.asarray(means.fit_predict(_unit(vectors[:, :clusters])), dtype=np.int64)
    alike = labels[:, None] == labels
    together = float(affinity[alike].sum() / affinity.sum())
    return Spectral(labels, vectors[:, :most], together, float(alike.mean()))


def _unit(rows: Features) -> Features:
    """Rows of length 1."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30))


def _cosine(table: Features, mean: Features) -> Features:
    lengths = np.linalg.norm(table, axis=1) * np.linalg.norm(mean)
    return np.asarray(table @ mean / np.maximum(lengths, 1e-30))


def _square(mean: Features) -> Crop:
    edge = int(np.sqrt(mean.size))
    return mean.reshape(edge, edge).astype(np.float32)
