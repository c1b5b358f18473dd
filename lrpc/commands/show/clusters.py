"""Boxes of a drawing: single nodes, or the nodes of one module taken together.

A module whose nodes are interleaved with others' is drawn as several boxes, so that the boxes stay
free of cycles and every edge can run downwards.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial

import networkx as nx  # type: ignore[import-untyped]

from lrpc.commands.show.load import ShowError
from lrpc.commands.show.select import Filter, Indexed, is_relevance, select
from lrpc.ir.graph import Graph, Node, Value

FEW = 70  # boxes that a drawing has at most where the depth is not given
MOST = 1200  # boxes above which a drawing is refused


@dataclass(slots=True)
class Box:
    """What is drawn as one: nodes, or a value that enters the drawing (`value`), or leaves it."""

    module: str
    nodes: list[Indexed] = field(default_factory=list)
    value: Value | None = None
    label: str = ""
    relevance: bool = False

    @property
    def single(self) -> Node | None:
        return self.nodes[0][1] if len(self.nodes) == 1 else None


@dataclass(frozen=True, slots=True)
class Drawing:
    """Boxes and which feed which; an edge counts the values that go along it."""

    boxes: tuple[Box, ...]
    edges: dict[tuple[int, int], int]

    @property
    def network(self) -> nx.DiGraph[int]:
        network: nx.DiGraph[int] = nx.DiGraph()
        network.add_nodes_from(range(len(self.boxes)))
        network.add_edges_from(self.edges)
        return network


def drawing(graph: Graph, condition: Filter, depth: int | None) -> Drawing:
    """The boxes to draw; without `depth`, modules unfolded as far as FEW boxes allow.

    A `condition` draws the nodes that meet it one by one, unless a depth is given. ShowError where
    no node meets it, and where there would be more than MOST boxes.
    """
    nodes = select(graph, condition)
    if depth is not None:
        found = _grouped(graph, nodes, lambda path: ".".join(path.split(".")[:depth]))
    elif condition or len(nodes) <= FEW:
        found = _grouped(graph, nodes, None)
    else:
        found = _unfolded(graph, nodes)
    if len(found.boxes) > MOST:
        raise ShowError(
            f"a drawing of {len(found.boxes)} boxes would not be readable ({MOST} at most);"
            " narrow it with --module, or collapse it with --depth"
        )
    return found


def _unfolded(graph: Graph, nodes: Sequence[Indexed]) -> Drawing:
    """Unfold the fullest modules first, as long as FEW boxes are enough."""
    unfolded: set[str] = set()
    tried: set[str] = set()
    paths = [node.loc.module for _, node in nodes]
    best = _grouped(graph, nodes, partial(_folded, unfolded=unfolded))
    while pattern := _largest(paths, unfolded, tried):
        tried.add(pattern)
        wider = unfolded | {pattern}
        if len({_folded(path, wider) for path in paths}) > FEW:
            continue
        finer = _grouped(graph, nodes, partial(_folded, unfolded=wider))
        if len(finer.boxes) <= FEW:
            best, unfolded = finer, wider
    return best


def _pattern(path: str) -> str:
    """A module path with its indices left open: blocks of one list are unfolded together."""
    return re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", path)


def _folded(path: str, unfolded: AbstractSet[str]) -> str:
    """The part of a path that is shown: up to the first module that is not unfolded."""
    parts = path.split(".")
    for length in range(1, len(parts)):
        prefix = ".".join(parts[:length])
        if _pattern(prefix) not in unfolded:
            return prefix
    return path


def _largest(paths: Sequence[str], unfolded: AbstractSet[str], tried: AbstractSet[str]) -> str:
    """The pattern of the fullest module that could be unfolded; "" where all are small enough."""
    counts = Counter(folded for path in paths if (folded := _folded(path, unfolded)) != path)
    for path in sorted(counts, key=lambda path: (-counts[path], path)):
        if _pattern(path) not in tried and counts[path] > len(paths) / FEW:
            return _pattern(path)
    return ""


def _grouped(graph: Graph, nodes: Sequence[Indexed], fold: Callable[[str], str] | None) -> Drawing:
    """Put nodes into boxes in program order; one joins its module's box where no cycle follows.

    `fold` shortens a module path to what one box stands for; without it every node has its own box.
    """
    grouping = _Grouping(graph)
    for index, node in nodes:
        feeding = [grouping.producer(value) for value in dict.fromkeys(node.inputs)]
        module = fold(node.loc.module) if fold else node.loc.module
        key = (module, is_relevance(node)) if fold else None
        box = grouping.join(key, module, set(feeding))
        grouping.add(box, (index, node), feeding)
    grouping.close()
    return Drawing(tuple(grouping.boxes), grouping.edges)


class _Grouping:
    """Boxes so far, and for each the set of boxes that it depends on, as bits."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.boxes: list[Box] = []
        self.edges: dict[tuple[int, int], int] = {}
        self._above: list[int] = []
        self._open: dict[tuple[str, bool], int] = {}
        self._made: dict[str, int] = {}

    def producer(self, value: Value) -> int:
        """The box that yields a value; one from outside the drawing gets a box of its own."""
        if value.name not in self._made:
            self._made[value.name] = self._new(Box("", value=value, label=f"%{value.name}"))
        return self._made[value.name]

    def join(self, key: tuple[str, bool] | None, module: str, wanted: set[int]) -> int:
        """The open box of `key`, or a new one where joining that would close a cycle."""
        box = self._open.get(key) if key else None
        if box is not None and not any(self._above[w] >> box & 1 for w in wanted if w != box):
            return box
        box = self._new(Box(module, relevance=bool(key and key[1])))
        if key:
            self._open[key] = box
        return box

    def add(self, box: int, item: Indexed, feeding: Sequence[int]) -> None:
        self.boxes[box].nodes.append(item)
        self._made.update((value.name, box) for value in item[1].outputs)
        for source in feeding:
            if source != box:
                self.edges[source, box] = self.edges.get((source, box), 0) + 1
                self._depend(box, source)

    def close(self) -> None:
        """Boxes for the graph's results."""
        for name, value in self.graph.outputs:
            source = self._made.get(value.name)
            if source is not None:
                self.edges[source, self._new(Box("", value=value, label=name))] = 1

    def _new(self, box: Box) -> int:
        self.boxes.append(box)
        self._above.append(0)
        return len(self.boxes) - 1

    def _depend(self, box: int, source: int) -> None:
        gained = self._above[source] | 1 << source
        if self._above[box] | gained == self._above[box]:
            return
        for other in range(len(self.boxes)):
            if other == box or self._above[other] >> box & 1:
                self._above[other] |= gained
