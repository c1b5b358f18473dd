"""What a sum of weighed samples takes from where: values, locations and weights of all levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lrpc.ir.graph import Graph, Loc, Node, Value
from lrpc.ir.types import Dim
from passes.layouts import MOVES, REPEATED, Cut, Part, chain, covered, digits, product
from passes.rewrite import Rewriter
from passes.sample_stacks import Parts, followed
from passes.weighed_samples import Operand

AFFINE = frozenset({"scale", "shift"})
Levels = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Taken:
    """A tensor of this shape, which is all of a source by `parts`; of a grid, its locations."""

    source: Value
    parts: Parts
    shape: tuple[Dim, ...]
    grid: bool = False

    def fits(self) -> bool:
        """Whether the parts are each entry of the source once, or once for each image."""
        return covered(self.source.type.shape, self._moved()) is not None

    def _moved(self) -> Parts:
        repeated = self.parts[:1] and self.parts[0].axis == REPEATED
        return self.parts[1:] if repeated else self.parts

    def emitted(self, new: Rewriter, hint: str, loc: Loc) -> Value:
        """The tensor."""
        own, value = self._moved(), new.now(self.source)
        order = covered(self.source.type.shape, own)
        assert order is not None
        if order != own:
            value = reshaped(new, value, tuple(p.extent for p in order), hint, loc)
            dims = tuple(order.index(p) for p in own)
            value = new.one("permute", value, hint=hint, loc=loc, dims=dims)
        once = self.shape if own == self.parts else (1, *self.shape[1:])
        value = reshaped(new, value, once, hint, loc)
        if self.grid:
            value = new.one("shift", value, hint=hint, loc=loc, by=1.0)
            value = new.one("scale", value, hint=hint, loc=loc, by=0.5)
        if once != self.shape:
            value = new.one("expand", value, hint=hint, loc=loc, shape=self.shape)
        return value


def reshaped(new: Rewriter, value: Value, shape: tuple[Dim, ...], hint: str, loc: Loc) -> Value:
    """`value` in this shape."""
    same = value.type.shape == shape
    return value if same else new.one("reshape", value, hint=hint, loc=loc, shape=shape)


def taken(
    found: Sequence[Operand], points: Sequence[tuple[Dim, ...]], last: tuple[Dim, ...]
) -> list[Taken]:
    """[B, Q, H, *points, *last] of each of `found`; `points` are those of each, or of all."""
    made = []
    for i, one in enumerate(found):
        (images, heads), own = _own(one), points[i % len(points)]
        parts = (*images, *one.queries, *heads, *one.points, *one.channels)
        first = (product(images), product(one.queries), product(heads))
        made.append(Taken(one.source, parts, (*first, *own, *last), one.grid))
    return made


def _own(operand: Operand) -> tuple[Parts, Parts]:
    """The parts by image and those by head: images are axis 0 of a source, or repeat it."""
    first = tuple(p for p in operand.heads if p.axis in (0, REPEATED))
    return first, operand.heads[len(first) :]


def values(graph: Graph, samples: Sequence[Node], levels: Levels) -> list[Operand]:
    """The maps as rows, which stand for queries: of one source or of one each; none where they are
    not all of it, level after level."""
    found: list[Operand] = []
    for sample in samples:
        source, nodes = chain(graph, sample.inputs[0], MOVES)
        layout = followed(source, nodes)
        if layout is None:
            return []
        heads, channels, height, width = layout.dims
        found.append(Operand(source, heads, (*height, *width), (), channels, layout.cuts))
    if not any(one.cuts for one in found):
        return found
    lengths = [h * w for h, w in levels]
    cut = _in_turn(found, lengths)
    split = [digits(one.cuts[0].part, sides) for one, sides in zip(found, levels, strict=False)]
    rows = [tuple(p for p in parts if p.extent != 1) for parts in split]
    if cut is None or [one.queries for one in found] != rows:
        return []
    return _same([replace(one, queries=(cut.of,), cuts=()) for one in found])


def locations(
    graph: Graph, samples: Sequence[Node], counts: Sequence[int], point: str
) -> list[Operand]:
    """What grids are 2x − 1 of, of one source or of one each; none where they are not."""
    found = [_grid(graph, sample, point) for sample in samples]
    whole = [one for one in found if one is not None]
    return [] if len(whole) < len(found) else together(whole, counts)


def _grid(graph: Graph, sample: Node, point: str) -> Operand | None:
    value, nodes, by, shift = sample.inputs[1], list[Node](), 1.0, 0.0
    while (by, shift) != (2.0, -1.0):
        value, moves = chain(graph, value, MOVES)
        nodes = [*moves, *nodes]
        node = graph.producers.get(value.name)
        if node is not None and node.op == "constant" and (by, shift) == (1.0, 0.0):
            break  # of which the locations are computed
        if node is None or node.op not in AFFINE:
            return None
        if node.op == "shift":
            shift += by * node.number("by")
        else:
            by *= node.number("by")
        value = node.inputs[0]
    source, moves = chain(graph, value, MOVES)
    layout = followed(source, [*moves, *nodes])
    if layout is None:
        return None
    heads, y, x, channels = layout.dims
    queries, points = (y, x) if point == "x" else (x, y)
    return Operand(source, heads, queries, points, channels, layout.cuts, grid=by == 1.0)


def together(found: list[Operand], counts: Sequence[int]) -> list[Operand]:
    """What levels take of one source as one operand, level after level of an axis of its own, or of
    one that all points are in; or what each takes of a whole source. None where they do neither."""
    if not any(one.cuts for one in found):
        return found
    apart = all(cut.extent == 1 for one in found for cut in one.cuts)
    cut = _in_turn(found, [1] * len(counts) if apart else counts)
    if cut is None or (apart and len(set(counts)) > 1):
        return []
    if apart:
        bare = [replace(one, points=(cut.of, *one.points), cuts=()) for one in found]
    else:
        own = [(one.cuts[0].part,) if one.cuts[0].extent > 1 else () for one in found]
        if [one.points for one in found] != own:
            return []
        bare = [replace(one, points=(cut.of,), cuts=()) for one in found]
    return _same(bare)


def _in_turn(found: Sequence[Operand], lengths: Sequence[int]) -> Cut | None:
    """The first of the cuts of a part that are as long as these, one after the other, and all of
    it."""
    if any(len(one.cuts) != 1 for one in found) or len(found) != len(lengths):
        return None
    cuts, start = [one.cuts[0] for one in found], 0
    whole: Part = cuts[0].of
    for cut, length in zip(cuts, lengths, strict=True):
        if cut != Cut(whole, start, length):
            return None
        start = start + length
    return cuts[0] if start == whole.extent else None


def _same(found: list[Operand]) -> list[Operand]:
    return found[:1] if len(set(found)) == 1 else []
