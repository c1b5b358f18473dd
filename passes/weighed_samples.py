"""Finds sums of weighed samples: Σ over levels and points of weight · grid_sample(map, grid)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.types import Dim
from passes.layouts import MOVES, REPEATED, Cut, Layout, Part, chain, product

LEVELS = "levels"
OPTIONS = {"mode": "bilinear", "padding": "zeros", "align_corners": False}

Parts = tuple[Part, ...]
Stack = tuple[Layout, tuple[Node, ...]]


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
    the results that are summed."""

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
            if node.op == "grid_sample" or node.op in {*MOVES, "cat"}:
                if (stack := self._stacked(node)) is not None:
                    self._stacks[node.out.name] = stack
            elif (made := self._found(node)) is not None:
                self.found[node.out.name] = made

    def _found(self, node: Node) -> Weighed | None:
        if any(value.name not in self.once for value in node.inputs):
            return None
        if node.op == "sum":
            return self._product(node)
        inner = [self.found[v.name] for v in node.inputs if v.name in self.found]
        if node.op == "shift" and node.number("by") == 0 and inner:
            return inner[0]  # what Python's sum() starts with
        if node.op != "add" or len(inner) < 2:
            return None
        a, b = inner
        levelled = all(len(f.weights) == len(f.samples) for f in inner)
        if not levelled or (a.dims, a.point, a.extents()) != (b.dims, b.point, b.extents()):
            return None
        return replace(
            a,
            samples=a.samples + b.samples,
            weights=a.weights + b.weights,
            sums=(*a.sums, *b.sums, *(v.name for v in node.inputs)),
        )

    def _product(self, node: Node) -> Weighed | None:
        times = self.graph.producers.get(node.inputs[0].name)
        if times is None or times.op != "mul":
            return None
        for value, weight in (times.inputs, times.inputs[::-1]):
            stack = self._stacks.get(value.name) if value.name in self.once else None
            if stack is not None and value.type == times.out.type:
                return self._summed(node, *stack, weight)
        return None

    def _stacked(self, node: Node) -> Stack | None:
        """The samples that a result is made of, by the parts n, d, y, x and that of the levels."""
        if node.op == "grid_sample":
            fits = all(node.attr(key) == wanted for key, wanted in OPTIONS.items())
            shape = node.out.type.shape
            return (Layout.of(shape, "ndyx"), (node,)) if fits and len(shape) == 4 else None
        inner = [
            self._stacks[v.name]
            for v in node.inputs
            if v.name in self._stacks and v.name in self.once
        ]
        if not inner or len(inner) < len(node.inputs):
            return None
        if node.op == "cat":
            return _joined(node, [layout for layout, _ in inner], [s for _, s in inner])
        layout = inner[0][0].moved(node)
        return None if layout is None or layout.cuts else (layout, inner[0][1])

    def _summed(
        self, node: Node, layout: Layout, samples: tuple[Node, ...], weight: Value
    ) -> Weighed | None:
        rank = len(layout.dims)
        over = {d % rank for d in node.integers("dims")}
        kept = [p for d, dim in enumerate(layout.dims) for p in dim if d not in over]
        gone = [p.axis for d in sorted(over) for p in layout.dims[d]]
        axes = {p.axis for p in kept}
        point, query = ("y", "x") if "y" in gone or "x" in axes else ("x", "y")
        if gone not in ([], [LEVELS], [point], [LEVELS, point]) or not axes <= {"n", "d", query}:
            return None
        sizes = dict(zip("ndyx", samples[0].out.type.shape, strict=True))
        if any(p.extent != sizes[str(p.axis)] for p in kept):
            return None
        operand = self._weight(weight, layout, over)
        if operand is None:
            return None
        keeps = bool(node.attr("keepdim"))
        dims = tuple(
            () if d in over else dim for d, dim in enumerate(layout.dims) if keeps or d not in over
        )
        return Weighed(samples, (operand,), point, dims, (node.out.name,))

    def _weight(self, weight: Value, layout: Layout, over: set[int]) -> Operand | None:
        """The parts of the weight of every sample; None unless it has one for each head, query and
        point, the same for all channels."""
        source, nodes = chain(self.graph, weight, MOVES)
        own = followed(source, nodes)
        if own is None:
            return None
        more = len(layout.dims) - len(own.dims)
        found: dict[str, Parts] = {"n": (), "q": (), "p": ()}
        for d, (theirs, dim) in enumerate(zip(layout.dims, [()] * more + [*own.dims], strict=True)):
            axes = {p.axis for p in theirs}
            if axes <= {"d"}:
                if any(p.axis != REPEATED for p in dim):
                    return None
                continue
            role = "p" if d in over else "n" if axes == {"n"} else "q" if len(axes) == 1 else ""
            if not role or product(dim) != product(theirs):
                return None
            found[role] += dim
        return Operand(source, found["n"], found["q"], found["p"], cuts=own.cuts)


def followed(source: Value, nodes: list[Node]) -> Layout | None:
    """The layout after `nodes`, of the parts of `source`."""
    layout: Layout | None = Layout.of(source.type.shape)
    for node in nodes:
        layout = layout if layout is None or node.op not in MOVES else layout.moved(node)
    return layout


def _joined(node: Node, layouts: list[Layout], samples: list[tuple[Node, ...]]) -> Stack | None:
    """Levels along a new axis, or along that of their points."""
    axis = node.integer("dim") % len(layouts[0].dims)
    others = {(*layout.dims[:axis], (), *layout.dims[axis + 1 :]) for layout in layouts}
    own = [layout.dims[axis] for layout in layouts]
    points = all(len(dim) < 2 and {p.axis for p in dim} <= {"x", "y"} for dim in own)
    names = {p.axis for dim in own for p in dim}
    if len(others) > 1 or not points or len(names) > 1 or any(len(s) > 1 for s in samples):
        return None
    dims = list(layouts[0].dims)
    dims[axis] = (Part(LEVELS, 1, node.out.type.shape[axis]),)
    return Layout(tuple(dims)), tuple(one for s in samples for one in s)
