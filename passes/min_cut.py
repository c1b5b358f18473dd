"""Which values to keep so that all that is needed later can be had: a least cut."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import networkx as nx  # type: ignore[import-untyped]
from networkx.algorithms.flow import boykov_kolmogorov  # type: ignore[import-untyped]

# Above what has to be kept where it is needed; below what is needed. No value has such a side.
FROM, TO = ("", -1), ("", 2)
NO_BOUND = 1 << 100
Point = tuple[str, int]
Room = dict[Point, dict[Point, int]]


def cheapest(
    cost: Mapping[str, int],
    inputs: Mapping[str, Sequence[str]],
    needed: Iterable[str],
    work: Mapping[str, int],
) -> frozenset[str]:
    """The values to keep at the least total cost, such that each of `needed` is kept or can be
    made of kept ones.

    `inputs` says what a value can be made of; one that is not in it cannot be recomputed, one with
    no inputs needs nothing kept. To make it costs `work`, 0 where that has none. Costs are at least
    0; the graph must have no cycles.
    """
    needed = set(needed)
    anyway = {name for name in needed if name not in inputs}
    reached = above(_network(cost, inputs, needed - anyway, anyway, work))
    cut = {name for name, side in reached if side == 0 and (name, 1) not in reached}
    return frozenset(anyway | cut)


def above(room: Room) -> Collection[Point]:
    """The points above a least cut between FROM and TO, the nearest to FROM of all such cuts.

    `room` holds what passes from each point to others; every point has an entry.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(room)
    graph.add_weighted_edges_from(
        ((a, b, size) for a, ends in room.items() for b, size in ends.items()), "capacity"
    )
    left = boykov_kolmogorov(graph, FROM, TO)
    full = [(a, b) for a, b, e in left.edges(data=True) if e["flow"] >= e["capacity"]]
    left.remove_edges_from(full)
    return {FROM, *nx.descendants(left, FROM)}


def _network(
    cost: Mapping[str, int],
    inputs: Mapping[str, Sequence[str]],
    needed: Iterable[str],
    anyway: Collection[str],
    work: Mapping[str, int],
) -> Room:
    """Each value is an edge of its cost, and what it is made of leads to it without bound; what is
    kept anyway is as good as nothing. A value below the cut whose edge is not in it is made, which
    cuts its edge from above."""
    room: Room = {FROM: {}, TO: {}}
    ahead, seen = list(needed), set[str]()
    for name in ahead:
        room.setdefault((name, 1), {})[TO] = NO_BOUND
    while ahead:
        name = ahead.pop()
        if name in seen or name in anyway:
            continue
        seen.add(name)
        room.setdefault((name, 0), {})[name, 1] = cost[name]
        room.setdefault((name, 1), {})
        room[FROM][name, 0] = work.get(name, 0) if name in inputs else NO_BOUND
        for source in inputs.get(name, ()):
            if source not in anyway:
                room.setdefault((source, 1), {})[name, 0] = NO_BOUND
                ahead.append(source)
    return room
