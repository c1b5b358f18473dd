"""Finds multi-scale deformable attention written with grid_sample, and names it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from lrpc.ir.graph import Attr, Graph, Module, Node, Value
from lrpc.ir.types import Dim
from passes.eliminate_dead import EliminateDead
from passes.fold_constants import FoldConstants
from passes.layouts import Layout, Part, concrete_at, split
from passes.rewrite import Rewriter, rewrite
from passes.sample_stacks import Parts
from passes.sampling_operands import Taken, locations, reshaped, taken, together, values
from passes.weighed_samples import Finder, Operand, Weighed


@dataclass(frozen=True)
class RecogniseDeformable:
    """Replaces Σ over levels and points of weight · grid_sample(map, 2·location − 1) by one
    `deform_sample`, however maps, locations and weights are split, moved and put together.

    Samples may be weighed, moved, put together and summed in any order, by products, sums,
    einsum or matmul. Sampling is bilinear, with zeros outside and corners not aligned. Maps,
    locations and weights are taken whole, level after level, each for the head and query that it
    belongs to. Levels with fewer points get more of weight 0. Zhu et al. 2021, equation 3
    (2010.04159).
    """

    name: ClassVar[str] = "recognise_deformable"

    def run(self, module: Module) -> Module:
        graph = module.graph
        finder, found, inner = Finder(graph), dict[str, _Plan](), set[str]()
        for node in reversed(graph.nodes):
            if not node.outputs or node.out.name in inner:
                continue
            weighed = finder.found.get(node.out.name)
            plan = None if weighed is None else _planned(graph, finder, node, weighed)
            if weighed is not None and plan is not None:
                found[plan.end.out.name] = plan
                inner.update(weighed.sums)
        if not found:
            return module

        def emit(node: Node, new: Rewriter) -> tuple[Value, ...] | None:
            plan = found.get(node.out.name) if node.outputs else None
            return None if plan is None else (plan.emitted(new),)

        return EliminateDead().run(FoldConstants().run(rewrite(module, emit)))


@dataclass(frozen=True)
class _Plan:
    """A sampling of these operands, in pieces by level or whole, and the node `end` whose result is
    its own, or that of [B, Q, H, D] `turned`."""

    end: Node
    levels: tuple[tuple[int, int], ...]
    points: tuple[int, ...]
    value: list[Taken]
    locations: list[Taken]
    weights: list[Taken]
    turned: tuple[int, ...] | None

    def emitted(self, new: Rewriter) -> Value:
        loc, levels = self.end.loc, _attr(self.levels)
        value = self._joined(new, self.value, "values", 1)
        places = self._by_level(new, self._joined(new, self.locations, "locations", 3), "locations")
        shares = self._by_level(new, self._joined(new, self.weights, "weights", 3), "weights")
        operands = (value, places, shares)
        out = new.one("deform_sample", *operands, hint="sampled", loc=loc, levels=levels)
        if self.turned is None:
            return out
        batch, _, heads, width = value.type.shape
        out = reshaped(new, out, (batch, out.type.shape[1], heads, width), "sampled", loc)
        out = new.one("permute", out, hint="sampled", loc=loc, dims=self.turned)
        return reshaped(new, out, self.end.out.type.shape, "sampled", loc)

    def _joined(self, new: Rewriter, pieces: list[Taken], part: str, axis: int) -> Value:
        made = [piece.emitted(new, part, self.end.loc) for piece in pieces]
        return made[0] if len(made) == 1 else self._cat(new, made, part, axis)

    def _cat(self, new: Rewriter, parts: list[Value], hint: str, axis: int) -> Value:
        return new.one("cat", *parts, hint=hint, loc=self.end.loc, dim=axis - parts[0].type.rank)

    def _by_level(self, new: Rewriter, flat: Value, part: str) -> Value:
        """[B, Q, H, L, P, …] of [B, Q, H, ΣP, …], levels filled up with points of weight 0."""
        most, shape, loc = max(self.points), flat.type.shape, self.end.loc
        behind = 1 if part == "locations" else 0
        if len(shape) == 5 + behind:
            return flat
        if min(self.points) < most:
            made, stops = list[Value](), list(accumulate(self.points))
            for count, stop in zip(self.points, stops, strict=True):
                piece = new.one(
                    "slice", flat, hint=part, loc=loc, dim=-1 - behind, start=stop - count,
                    stop=stop, step=1,
                )  # fmt: skip
                if count < most:
                    pad = (*(0, 0) * behind, 0, most - count)
                    piece = new.one("pad", piece, hint=part, loc=loc, pad=pad, value=0.0)
                made.append(piece)
            flat = self._cat(new, made, part, 3)
        whole = (*shape[:3], len(self.points), most, *shape[4:])
        return reshaped(new, flat, whole, part, loc)


def _attr(levels: tuple[tuple[int, int], ...]) -> Attr:
    return levels


def _planned(graph: Graph, finder: Finder, node: Node, weighed: Weighed) -> _Plan | None:
    samples, counts = weighed.samples, weighed.counts
    sizes = [s.inputs[0].type.shape[2:] for s in samples]
    levels = tuple((h, w) for h, w in sizes if isinstance(h, int) and isinstance(w, int))
    if not len(levels) == len(counts) == len(samples):
        return None
    _, width, queries = weighed.extents()
    rows = values(graph, samples, levels)
    places = locations(graph, samples, counts, weighed.point)
    shares = together([*weighed.weights], counts)
    if not (rows and places and shares):
        return None

    value = taken(rows, [()], (width,))
    located = taken(places, _points(places, counts), (2,))
    weights = taken(shares, _points(shares, counts), ())
    if not all(one.fits() for one in (*value, *located, *weights)):
        return None
    batch, _, heads, _ = value[0].shape
    shapes = {(one.shape[0], one.shape[2]) for one in (*value, *located, *weights)}
    if len(shapes) > 1 or any(one.shape[1] != queries for one in (*located, *weights)):
        return None
    end = _end(graph, finder, node, weighed, (batch, queries, heads, width))
    return None if end is None else _Plan(end[0], levels, counts, value, located, weights, end[1])


def _points(pieces: Sequence[Operand], counts: Sequence[int]) -> list[tuple[Dim, ...]]:
    """The axes of points: by level where one piece has equally many of each."""
    if len(pieces) > 1:
        return [(count,) for count in counts]
    return [(len(counts), counts[0]) if len(set(counts)) == 1 else (sum(counts),)]


def _end(
    graph: Graph, finder: Finder, node: Node, weighed: Weighed, shape: tuple[Dim, ...]
) -> tuple[Node, tuple[int, ...] | None] | None:
    """The node whose result is that of the sampling, [B, Q, H·D], as it is; or `node`, and how
    [B, Q, H, D] is permuted to it."""
    batch, queries, heads, width = shape
    b, q, h, d = Part(0, 1, batch), Part(1, 1, queries), Part(2, width, heads), Part(2, 1, width)
    stand = {"n": (b, h), "d": (d,), "x": (q,), "y": (q,)}
    layout, end = _of_result(weighed.dims, stand), node
    if layout is None:
        return None
    order, wanted = [p for dim in layout.dims for p in dim], _bare([(b,), (q,), (h, d)])
    while True:
        if layout == wanted:
            return end, None
        users = graph.users.get(end.out.name, ())
        if end.out.name not in finder.once or users[0].op not in ("reshape", "permute"):
            break
        end = users[0]
        if (layout := layout.moved(end)) is None:
            break
    whole = [p for p in (b, q, h, d) if p.extent == 1 or p in order]
    if len(whole) < 4:
        return None
    order += [p for p in whole if p.extent == 1]
    turned = sorted(range(4), key=lambda i: order.index(whole[i]))
    return node, tuple(turned)


def _of_result(dims: Sequence[Parts], stand: dict[str, Parts]) -> Layout | None:
    """`dims`, where `stand` says what axes of samples are in the result."""
    found: dict[Part, Parts] = {}
    for axis, own in stand.items():
        parts = sorted(
            (p for dim in dims for p in dim if p.axis == axis), key=lambda p: -concrete_at(p.step)
        )
        given = split(own, [p.extent for p in parts]) if parts else []
        if given is None:
            return None
        found |= dict(zip(parts, given, strict=True))
    return _bare(tuple(p for part in dim for p in found[part]) for dim in dims)


def _bare(dims: Iterable[Parts]) -> Layout:
    return Layout(tuple(tuple(p for p in dim if p.extent != 1) for dim in dims))
