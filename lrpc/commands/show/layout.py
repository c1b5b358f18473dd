"""Places boxes in layers from top to bottom, and routes edges around them.

Layers by longest path; order within them by barycentres (Sugiyama, Tagawa and Toda 1981); positions
by isotonic regression towards the neighbours. A long edge has a way station in each layer between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx  # type: ignore[import-untyped]

from lrpc.commands.show.order import Key, Links, order, positions

BETWEEN = 52.0  # between layers

Point = tuple[float, float]
Size = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Layout:
    """Centres of the boxes, the points each edge passes, and the extent of it all."""

    centres: tuple[Point, ...]
    paths: dict[tuple[int, int], tuple[Point, ...]]
    width: float
    height: float


def place(network: nx.DiGraph[int], sizes: Sequence[Size]) -> Layout:
    """Lay out an acyclic network whose nodes are the indices of `sizes` (width, height)."""
    layer = _layers(network)
    rows, links = _with_stations(network, layer)
    order(rows, links)
    widths = {key: sizes[key[0]][0] if len(key) == 1 else 0.0 for key in links}
    xs = positions(rows, links, widths)
    left = min((x - widths[key] / 2 for key, x in xs.items()), default=0.0)
    right = max((x + widths[key] / 2 for key, x in xs.items()), default=0.0)
    spans: list[Point] = []  # top and bottom of each layer
    y = 0.0
    for row in rows:
        height = max(sizes[key[0]][1] for key in row if len(key) == 1)
        spans.append((y, y + height))
        y += height + BETWEEN
    centres = tuple((xs[box,] - left, sum(spans[layer[box]]) / 2) for box in range(len(sizes)))
    paths: dict[tuple[int, int], tuple[Point, ...]] = {}
    for a, b in sorted(network.edges):
        points = [(centres[a][0], centres[a][1] + sizes[a][1] / 2)]
        for level in range(layer[a] + 1, layer[b]):
            x = xs[a, b, level] - left
            points += [(x, spans[level][0]), (x, spans[level][1])]
        points.append((centres[b][0], centres[b][1] - sizes[b][1] / 2))
        paths[a, b] = tuple(points)
    return Layout(centres, paths, right - left, max(y - BETWEEN, 0.0))


def _layers(network: nx.DiGraph[int]) -> dict[int, int]:
    """The layer of each box by longest path; sources move down next to what reads them first."""
    layer: dict[int, int] = {}
    for level, generation in enumerate(nx.topological_generations(network)):
        layer.update(dict.fromkeys(generation, level))
    for node in network:
        if network.in_degree(node) == 0 and network.out_degree(node):
            layer[node] = min(layer[b] for b in network.successors(node)) - 1
    return layer


def _with_stations(
    network: nx.DiGraph[int], layer: dict[int, int]
) -> tuple[list[list[Key]], Links]:
    """Rows of keys, and for each key its neighbours above and below."""
    rows: list[list[Key]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    links: Links = {}
    for node in sorted(network):
        rows[layer[node]].append((node,))
        links[node,] = ([], [])
    for a, b in sorted(network.edges):
        chain: list[Key] = [(a,)]
        for level in range(layer[a] + 1, layer[b]):
            rows[level].append((a, b, level))
            links[a, b, level] = ([], [])
            chain.append((a, b, level))
        chain.append((b,))
        for upper, lower in pairwise(chain):
            links[upper][1].append(lower)
            links[lower][0].append(upper)
    return rows, links
