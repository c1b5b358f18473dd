"""The attribution graph of a class, laid out to be drawn (Achtibat et al. 2023, "attribution
graphs"): a column for each place, in the order in which relevance passes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EDGES, LEAST = 3, 0.1  # drawn from each channel, the strongest, of this share of the largest
SIZE, BARE, _GAP, _ACROSS, _TOP = 64, 20, 26, 230, 34  # pixels: squares, their height without a
# picture, between nodes and columns, the titles


@dataclass(frozen=True)
class Node:
    """A channel: the left top corner of its square, and its picture where it has one."""

    place: str
    channel: int
    x: int
    y: int
    crop: str | None

    @property
    def height(self) -> int:
        """Of a square; less without a picture."""
        return SIZE if self.crop else BARE

    @property
    def middle(self) -> int:
        """Where edges meet it."""
        return self.y + self.height // 2


@dataclass(frozen=True)
class Edge:
    """From a channel to one of the next place, with the share of relevance, and how wide."""

    upper: Node
    lower: Node
    share: float
    width: float


@dataclass(frozen=True)
class Drawing:
    """Nodes, edges, and the places with the x of their columns, in a picture of this size."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    columns: Mapping[str, int]
    width: int
    height: int


def drawn(
    rows: Iterable[Mapping[str, Any]],
    first: Mapping[str, Sequence[int]],
    crops: Mapping[tuple[str, int], str],
) -> Drawing | None:
    """The strongest edges of the `first` channels of each place, from rows of the table of edges;
    `crops` are the pictures of channels. None where there are no edges."""
    strongest = _strongest(rows, first)
    if not strongest:
        return None
    order = {place: list(channels) for place, channels in first.items()}
    arrives: dict[tuple[str, int], float] = {}
    for row in strongest:
        below = (row["below"], row["channel_below"])
        arrives[below] = arrives.get(below, 0.0) + abs(row["share"])
    for place, channel in sorted(arrives, key=lambda one: -arrives[one]):
        if channel not in order[place]:
            order[place].append(channel)
    columns = {place: n * (SIZE + _ACROSS) for n, place in enumerate(order)}
    nodes = {
        (one.place, one.channel): one
        for place, channels in order.items()
        for one in _column(place, channels, columns[place], crops)
    }
    most = max(abs(row["share"]) for row in strongest)
    edges = tuple(
        Edge(
            nodes[row["place"], row["channel"]],
            nodes[row["below"], row["channel_below"]],
            row["share"],
            0.75 + 7.25 * abs(row["share"]) / most,
        )
        for row in strongest
    )
    height = max(node.y + node.height for node in nodes.values()) + _GAP
    return Drawing(tuple(nodes.values()), edges, columns, max(columns.values()) + _ACROSS, height)


def _column(
    place: str, channels: Sequence[int], x: int, crops: Mapping[tuple[str, int], str]
) -> Iterator[Node]:
    """The channels of a place, one below the other."""
    y = _TOP
    for channel in channels:
        node = Node(place, channel, x, y, crops.get((place, channel)))
        yield node
        y += node.height + (_GAP if node.crop else _GAP // 3)


def _strongest(
    rows: Iterable[Mapping[str, Any]], first: Mapping[str, Sequence[int]]
) -> list[Mapping[str, Any]]:
    """The edges that are drawn, the weakest first, so that strong ones lie over them."""
    of_channel: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["channel"] in first[row["place"]] and row["share"]:
            of_channel.setdefault((row["place"], row["channel"]), []).append(row)
    chosen = [
        row
        for edges in of_channel.values()
        for row in sorted(edges, key=lambda edge: -abs(edge["share"]))[:EDGES]
    ]
    least = LEAST * max((abs(row["share"]) for row in chosen), default=0.0)
    chosen = [row for row in chosen if abs(row["share"]) >= least]
    return sorted(chosen, key=lambda row: abs(row["share"]))
