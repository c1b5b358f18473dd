"""What the targets of a class have in common, and which differ: means, outliers, clusters.

Clusters are those of spectral relevance analysis (Lapuschkin et al. 2019, 1902.10178): spectral
clustering of the maps, here of their crops around the objects, with as many clusters as the largest
gap between the eigenvalues of the Laplacian tells.
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
    it with their cosines, and clusters (none: too few, or no gap)."""

    mean: Crop
    outliers: tuple[tuple[int, float], ...]
    clusters: tuple[Cluster, ...]


def group(rows: Sequence[int], crops: Sequence[Crop], outliers: int = 6) -> Group:
    """What some targets' crops have in common."""
    table = np.stack([crop.ravel() for crop in crops]).astype(np.float64)
    mean = table.mean(0)
    likeness = _cosine(table, mean)
    order = np.argsort(likeness, kind="stable")[: outliers if len(rows) > outliers else 0]
    odd = tuple((rows[i], float(likeness[i])) for i in order)
    return Group(_square(mean), odd, tuple(_clusters(rows, table)))


def _clusters(rows: Sequence[int], table: Features) -> list[Cluster]:
    if len(rows) < LEAST:
        return []
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(MOST, len(rows))).round().astype(int))
    labels, _ = spectral(table[chosen])
    found = []
    for label in range(labels.max() + 1):
        members = chosen[labels == label]
        mean = table[members].mean(0)
        typical = np.argsort(-_cosine(table[members], mean), kind="stable")
        found.append(Cluster(tuple(rows[members[i]] for i in typical), _square(mean)))
    found.sort(key=lambda one: -len(one.rows))
    return found if len(found) > 1 else []


def spectral(table: Features) -> tuple[NDArray[np.int64], Features]:
    """The cluster of each row, by spectral clustering on the graph of nearest neighbours, and its
    spectral embedding; how many clusters there are, the largest gap of the eigenvalues tells."""
    neighbours = importlib.import_module("sklearn.neighbors")
    cluster = importlib.import_module("sklearn.cluster")
    count = 1 + round(np.log2(len(table)))
    near = neighbours.kneighbors_graph(table, count).toarray()
    affinity = np.maximum(near, near.T)
    root = 1 / np.sqrt(affinity.sum(1))
    laplacian = np.eye(len(table)) - root[:, None] * affinity * root
    values, vectors = np.linalg.eigh(laplacian)
    most = min(_CLUSTERS, len(table) - 1)
    clusters = int(np.argmax(np.diff(values[: most + 1]))) + 1
    if clusters == 1:
        return np.zeros(len(table), np.int64), vectors[:, :most]
    points = vectors[:, :clusters]
    points = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    means = cluster.KMeans(clusters, n_init=10, random_state=0)
    return np.asarray(means.fit_predict(points), dtype=np.int64), vectors[:, :most]


def _cosine(table: Features, mean: Features) -> Features:
    lengths = np.linalg.norm(table, axis=1) * np.linalg.norm(mean)
    return np.asarray(table @ mean / np.maximum(lengths, 1e-30))


def _square(mean: Features) -> Crop:
    edge = int(np.sqrt(mean.size))
    return mean.reshape(edge, edge).astype(np.float32)
