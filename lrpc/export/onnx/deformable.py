"""Sampling of deformable attention by GridSample, and its transposes.

onnxruntime adds scattered rows in several threads at once and loses some; ScatterElements is exact
and slow. So relevance is summed by cell: points are sorted by the cell that they lie in, running
sums are taken in float64, and the sum of a cell is the difference of two of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from lrpc.export.onnx.points import Cells, Points, shares
from lrpc.export.onnx.structural import range_of
from lrpc.export.onnx.writer import Emit, Writer
from lrpc.ir.graph import Node
from lrpc.ir.types import whole


def _grid_sample(w: Writer, node: Node, x: Sequence[str]) -> str:
    modes = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}
    return w.op(
        "GridSample",
        *x,
        mode=modes[str(node.attr("mode"))],
        padding_mode=str(node.attr("padding")),
        align_corners=int(bool(node.attr("align_corners"))),
    )


def _deform_sample(w: Writer, node: Node, x: Sequence[str]) -> str:
    value, loc, weight = x
    points = Points.of(w, node, loc, weight, node.inputs[1])
    width, total = whole(node.inputs[0].type.shape[3]), ""
    for level in range(len(points.levels)):
        picked = points.sampled(value, width, level)
        scale = w.op(
            "Reshape", points.weights(level), w.extents([-1, 1, points.queries, points.points])
        )
        part = w.reduce("ReduceSum", w.op("Mul", picked, scale), [-1], False)  # [B·H, D, Q]
        total = w.op("Add", total, part) if total else part
    batch, queries, channels = node.out.type.shape
    flat = w.op("Reshape", total, w.extents([batch, channels, queries]))
    return w.op("Transpose", flat, perm=[0, 2, 1])


def _by_cell(w: Writer, points: Points, level: int, cells: Cells, heads: int) -> tuple[str, ...]:
    """The points of a level by cell: their order, and where each cell ends in it; how many cells.

    The cells are those of a map with one more line above and one more column on the left, for each
    image and for each of `heads` heads.
    """
    (high, wide), batch = points.levels[level], points.shape[0]
    image = w.op("Reshape", range_of(w, batch), w.integers([-1, 1, 1, 1]))
    first = w.op("Mul", image, w.number(heads, "i64"))
    if heads > 1:
        own = w.op("Reshape", range_of(w, heads), w.integers([1, -1, 1, 1]))
        first = w.op("Add", first, own)
    plane = w.op("Add", w.op("Mul", first, w.extent(high + 1)), cells.line)
    cell = w.op("Add", w.op("Mul", plane, w.extent(wide + 1)), cells.column)
    flat = w.op("Reshape", cell, w.integers([-1]))
    count = w.op("Shape", flat)
    _, order = w.several("TopK", flat, count, outputs=2, largest=0, axis=0)
    every = w.extents([batch * heads * ((high + 1) * (wide + 1))])
    zeros = w.op("Expand", w.number(0, "i64"), every)
    ones = w.op("Expand", w.number(1, "i64"), count)
    held = w.op("ScatterElements", zeros, flat, ones, axis=0, reduction="add")
    return order, w.op("CumSum", held, w.number(0, "i64"))


def _summed(w: Writer, rows: str, ends: str, dtype: str) -> str:
    """rows [N, C] in the order of their cells → the sum of each cell [cells, C]."""
    running = w.op("CumSum", w.cast(rows, dtype, "f64"), w.number(0, "i64"))
    one, zero = w.number(1, "i64"), w.number(0, "i64")
    last = w.op("Max", w.op("Sub", ends, one), zero)
    until = w.op("Gather", running, last, axis=0)
    some = w.op("Unsqueeze", w.op("Greater", ends, zero), w.integers([1]))
    until = w.op("Where", some, until, w.number(0, "f64"))
    before = w.op("Slice", until, w.integers([0]), w.integers([-1]), w.integers([0]))
    shifted = w.padded(before, 2, 0, [1], [0], w.number(0, "f64"))
    return w.cast(w.op("Sub", until, shifted), "f64", dtype)


def _splat(w: Writer, points: Points, seeds: str, heads: int, border: bool) -> str:
    """Seeds [rows, C], one row for each query of each of `heads` heads (or of the only one), added
    to the cells that it samples: [B, heads, S, C]."""
    maps = []
    lines = len(points.levels)
    for level in range(lines):
        cells = points.cells(level, border)
        order, ends = _by_cell(w, points, level, cells, heads)
        source = _sources(w, points, order, heads)
        given = w.op("Gather", seeds, source, axis=0)
        scale = w.op("Gather", w.op("Reshape", points.weights(level), w.integers([-1])), order)
        corners = []
        for line in shares(w, cells.down, points.dtype):
            for column in shares(w, cells.along, points.dtype):
                share = w.op("Reshape", w.op("Mul", line, column), w.integers([-1]))
                share = w.op("Mul", w.op("Gather", share, order), scale)
                entries = w.op("Mul", given, w.op("Unsqueeze", share, w.integers([1])))
                corners.append(_summed(w, entries, ends, points.dtype))
        maps.append(_joined(w, points, level, corners, heads))
    return maps[0] if lines == 1 else w.op("Concat", *maps, axis=2)


def _sources(w: Writer, points: Points, order: str, heads: int) -> str:
    """The row of the seeds that each point belongs to: points are [B, H, Q, P]."""
    query = w.op("Div", order, w.number(points.points, "i64"))
    if heads > 1:
        return query
    queries = w.extent(points.queries)  # seeds of all heads alike: [B, Q]
    image = w.op("Div", query, w.op("Mul", queries, w.number(points.heads, "i64")))
    return w.op("Add", w.op("Mul", image, queries), w.op("Mod", query, queries))


def _joined(w: Writer, points: Points, level: int, corners: Sequence[str], heads: int) -> str:
    """The maps of four corners, each shifted by its own cell: [B, heads, h·w, C]."""
    high, wide = points.levels[level]
    total = ""
    for corner, entries in enumerate(corners):
        down, right = divmod(corner, 2)
        lines = w.extents([-1, high + 1, wide + 1])
        shape = w.op("Concat", lines, w.op("Shape", entries, start=1), axis=0)
        table = w.op("Reshape", entries, shape)
        part = w.slice(table, 1, 1 - down, high + 1 - down)
        part = w.slice(part, 2, 1 - right, wide + 1 - right)
        total = w.op("Add", total, part) if total else part
    shape = w.op("Concat", w.integers([-1, heads]), w.extent(high * wide),
                 w.op("Shape", total, start=3), axis=0)  # fmt: skip
    return w.op("Reshape", total, shape)


def _deform_splat(w: Writer, node: Node, x: Sequence[str]) -> str:
    g, loc, weight = x
    points = Points.of(w, node, loc, weight, node.inputs[1])
    seeds, batch, tokens, heads, width = node.out.type.shape
    split = w.op("Reshape", g, w.extents([seeds, batch, points.queries, heads, width]))
    rows = w.op("Transpose", split, perm=[1, 3, 2, 0, 4])  # [B, H, Q, K, D]
    rows = w.op("Reshape", rows, w.extents([-1, seeds * whole(width)]))
    found = _splat(w, points, rows, whole(heads), False)
    wide = w.op("Reshape", found, w.extents([batch, heads, tokens, seeds, width]))
    return w.op("Transpose", wide, perm=[3, 0, 2, 1, 4])


def _deform_spread(w: Writer, node: Node, x: Sequence[str]) -> str:
    """Each head spreads all channels, and the mean over heads is taken."""
    g, loc, weight = x
    points = Points.of(w, node, loc, weight, node.inputs[1])
    seeds, batch, tokens, width = node.out.type.shape
    rows = w.op("Transpose", g, perm=[1, 2, 0, 3])  # [B, Q, K, C]
    rows = w.op("Div", rows, w.number(points.heads, node.out.type.dtype))
    rows = w.op("Reshape", rows, w.extents([-1, seeds * whole(width)]))
    found = _splat(w, points, rows, 1, True)
    wide = w.op("Reshape", found, w.extents([batch, tokens, seeds, width]))
    return w.op("Transpose", wide, perm=[2, 0, 1, 3])


def _by_head(w: Writer, node: Node, g: str) -> str:
    """g [K, B, Q, H·D] as [K, B·H, Q, 1, D]."""
    seeds, batch, queries, _ = node.inputs[0].type.shape
    _, _, heads, width = node.inputs[1].type.shape
    split = w.op("Reshape", g, w.extents([seeds, batch, queries, heads, width]))
    turned = w.op("Transpose", split, perm=[0, 1, 3, 2, 4])
    return w.op("Reshape", turned, w.extents([seeds, -1, queries, 1, width]))


def _stacked(w: Writer, node: Node, parts: Sequence[str], more: Sequence[int]) -> str:
    """Levels [K, B, H, Q, P, …] → [K, B, Q, H, L, P, …]."""
    apart = [w.op("Unsqueeze", part, w.integers([4])) for part in parts]
    whole_table = w.op("Concat", *apart, axis=4)
    rest = list(range(6, 6 + len(more)))
    return w.op("Transpose", whole_table, perm=[0, 1, 3, 2, 4, 5, *rest])


def _deform_weight_transpose(w: Writer, node: Node, x: Sequence[str]) -> str:
    g, value, loc = x
    points = Points.of(w, node, loc, "", node.inputs[2])
    width, rows = whole(node.inputs[1].type.shape[3]), _by_head(w, node, g)
    seeds, batch, queries, heads, _, count = node.out.type.shape
    parts = []
    for level in range(len(points.levels)):
        picked = w.op("Transpose", points.sampled(value, width, level), perm=[0, 2, 1, 3])
        found = w.op("MatMul", rows, picked)  # [K, B·H, Q, 1, P]
        parts.append(w.op("Reshape", found, w.extents([seeds, batch, heads, queries, count])))
    return _stacked(w, node, parts, ())


def _deform_location_transpose(w: Writer, node: Node, x: Sequence[str]) -> str:
    """g · corner for each corner, times the slopes of the corners' shares along x and y."""
    g, value, loc, weight = x
    points = Points.of(w, node, loc, weight, node.inputs[2])
    seeds, batch, queries, heads, _, count, _ = node.out.type.shape
    rows, parts = _by_head(w, node, g), []
    for level, (high, wide) in enumerate(points.levels):
        cells = points.cells(level)
        lines, columns = (shares(w, p, points.dtype) for p in (cells.down, cells.along))
        right_slopes, down_slopes = (points.slopes(level, axis) for axis in (0, 1))
        slopes = ["", ""]
        for corner in range(4):
            down, right = divmod(corner, 2)
            picked = _corner(w, node, points, level, (down, right), cells, value)
            product = w.op("MatMul", rows, picked)  # [K, B·H, Q, 1, P]
            product = w.op("Reshape", product, w.extents([seeds, batch, heads, queries, count]))
            for axis, share in ((0, w.op("Mul", lines[down], right_slopes[right])),
                                (1, w.op("Mul", columns[right], down_slopes[down]))):  # fmt: skip
                part = w.op("Mul", product, share)
                slopes[axis] = w.op("Add", slopes[axis], part) if slopes[axis] else part
        scale = points.weights(level)
        sized = [
            w.op("Mul", slope, w.op("Mul", scale, w.cast(w.extent(n), "i64", points.dtype)))
            for slope, n in zip(slopes, (wide, high), strict=True)
        ]
        parts.append(w.op("Concat", *(w.op("Unsqueeze", s, w.integers([-1])) for s in sized),
                          axis=5))  # fmt: skip
    return _stacked(w, node, parts, (2,))


def _corner(
    w: Writer,
    node: Node,
    points: Points,
    level: int,
    corner: tuple[int, int],
    cells: Cells,
    value: str,
) -> str:
    """The value at one corner of each point, 0 outside the map: [B·H, Q, D, P]."""
    (high, wide), rows, width = points.levels[level], points.rows(), node.inputs[1].type.shape[3]
    plane = w.op("Transpose", w.slice(value, 1, rows[level], rows[level + 1]), perm=[0, 2, 1, 3])
    plane = w.op("Reshape", plane, w.extents([-1, high, wide, width]))
    zero = w.number(0, points.dtype)
    framed = w.padded(plane, 4, 1, [1, 1], [1, 1], zero)
    table = w.op("Reshape", framed, w.extents([-1, width]))
    first = range_of(w, points.shape[0] * points.heads)
    first = w.op("Reshape", first, w.extents([points.shape[0], points.heads, 1, 1]))
    lines = w.op("Add", w.op("Mul", first, w.extent(high + 2)), cells.line)
    lines = w.op("Add", lines, w.number(corner[0], "i64"))
    columns = w.op("Add", cells.column, w.number(corner[1], "i64"))
    index = w.op("Add", w.op("Mul", lines, w.extent(wide + 2)), columns)
    picked = w.op("Gather", table, index, axis=0)  # [B, H, Q, P, D]
    picked = w.op("Reshape", picked, w.extents([-1, points.queries, points.points, width]))
    return w.op("Transpose", picked, perm=[0, 1, 3, 2])


ROWS: dict[str, Emit] = {
    "grid_sample": _grid_sample,
    "deform_sample": _deform_sample,
    "deform_splat": _deform_splat,
    "deform_spread": _deform_spread,
    "deform_weight_transpose": _deform_weight_transpose,
    "deform_location_transpose": _deform_location_transpose,
}
