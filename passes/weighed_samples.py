"""Finds sums of weighed samples: Σ over levels and points of weight · grid_sample(map, grid)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.ops import Family, of_family
from lrpc.ir.types import Dim
from passes.layouts import MOVES, Cut, chain
from passes.sample_stacks import (
    LEVELS,
    Parts,
    Stack,
    Weights,
    added,
    axes_of,
    extents,
    joined,
    moved,
    sampled,
    summed,
    weighed,
)

PRODUCTS = of_family(Family.BILINEAR, Family.PRODUCT)


@dataclass(frozen=True)
class Operand:
    """What a source gives to one or all levels: its parts by image and head, by query, by point,
    by channel, and by what it is cut. A `grid` has places in [-1, 1], not locations in [0, 1]."""

    source: Value
    heads: Parts
    queries: Parts = ()
    points: Parts = ()
    channels: Parts = ()
    cuts: tuple[Cut, ...] = ()
    grid: bool = False


@dataclass(frozen=True)
class Weighed:
    """A sum of weighed samples. Samples are [N, D, y, x], N images times heads, D channels; `point`
    is the axis of them that is summed over, y or x. `weights` are those of all levels, or one for
    each. `dims` are the parts n, d and y or x of each axis of the result; `sums` are the names of
    the sums inside."""

    samples: tuple[Node, ...]
    weights: tuple[Operand, ...]
    point: str
    dims: tuple[Parts, ...]
    sums: tuple[str, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Points of each level."""
        axis = "ndyx".index(self.point)
        return tuple(n for s in self.samples if isinstance(n := s.out.type.shape[axis], int))

    def extents(self) -> tuple[Dim, Dim, Dim]:
        """N, D and how many queries."""
        n, d, y, x = self.samples[0].out.type.shape
        return n, d, y if self.point == "x" else x


class Finder:
    """The sums of that kind in a graph, by name. Nothing else reads what is inside of one."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        ends = {v.name for _, v in (*graph.outputs, *graph.places)}
        self.once = {
            name for name, users in graph.users.items() if len(users) == 1 and name not in ends
        }
        self.found: dict[str, Weighed] = {}
        self._stacks: dict[str, Stack] = {}
        for node in graph.nodes:
            stack = self._stacked(node)
            if stack is None:
                continue
            name = node.out.name
            whole = None if node.op in MOVES else _whole(stack)
            if whole is not None:
                self.found[name] = whole
                stack = replace(stack, sums=(*stack.sums, name))
            self._stacks[name] = stack

    def _stacked(self, node: Node) -> Stack | None:
        if node.op == "grid_sample":
            return sampled(node)
        stacks = [self._stacks.get(v.name) if v.name in self.once else None for v in node.inputs]
        known = [stack for stack in stacks if stack is not None]
        if not known:
            return None
        if node.op in PRODUCTS:
            return self._product(node, stacks)
        if len(known) < len(stacks):
            return self._beside_zeros(node, known[0])
        if node.op in MOVES:
            return moved(known[0], node)
        if node.op == "shift" and node.number("by") == 0 and known[0].weights:
            return known[0]  # what Python's sum() starts with
        if node.op == "cat":
            return joined(node, known)
        if node.op == "sum":
            return summed(known[0], node)
        return added(known) if node.op == "add" and len(known) == 2 else None

    def _product(self, node: Node, stacks: list[Stack | None]) -> Stack | None:
        for i, stack in enumerate(stacks):
            if stack is None or len(stacks) != 2:
                continue
            other = node.inputs[1 - i]
            axes = axes_of(node, (node.inputs[i].type.rank, other.type.rank), i == 1)
            if (found := weighed(self.graph, stack, other, axes)) is not None:
                return found
        return None

    def _beside_zeros(self, node: Node, stack: Stack) -> Stack | None:
        """The sum with zeros, which accumulation starts with."""
        if node.op != "add" or not stack.weights:
            return None
        for value, other in (node.inputs, node.inputs[::-1]):
            made = self.graph.producers.get(chain(self.graph, other, MOVES)[0].name)
            zeros = made is not None and made.op == "full" and made.attr("value") == 0
            if zeros and value.name in self._stacks and value.type == node.out.type:
                return stack
        return None


def _whole(stack: Stack) -> Weighed | None:
    """The sum, where it goes over all levels and points, and over nothing else."""
    left = extents(stack.layout.dims)
    if not stack.weights or not left.keys() <= {"n", "d", "y", "x"}:
        return None
    for point, query in (("x", "y"), ("y", "x")):
        axes = ["ndyx".index(axis) for axis in ("n", "d", query)]
        sizes = {tuple(s.out.type.shape[i] for i in axes) for s in stack.samples}
        if point not in left and sizes == {tuple(left.get(a, 1) for a in ("n", "d", query))}:
            weights = tuple(_operand(one, point, query) for one in stack.weights)
            return Weighed(stack.samples, weights, point, stack.layout.dims, stack.sums)
    return None


def _operand(own: Weights, point: str, query: str) -> Operand:
    points = (*own.along(LEVELS), *own.along(point))
    return Operand(own.source, own.along("n"), own.along(query), points, cuts=own.cuts)
