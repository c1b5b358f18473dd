"""An estimate of what an operation costs, to compare plans by: bytes moved, and arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from math import prod

from lrpc.backend.memory.effect import Strided
from lrpc.ir.graph import Node, Value
from lrpc.ir.ops import TABLE, Family, of_family, views
from lrpc.ir.types import DTYPES, Sym

#: Multiply-adds that take as long as moving one byte. Processors lie between 5 and 50.
BALANCE = 10.0
#: Measured against matrix products on a CPU: a softmax of rows too short for vectors is worth eight
#: passes over its bytes, the tables of a sampling four of theirs, a multiply-add of a gathered row
#: two others.
SHORT, PASSES, SHARED, GATHERED = 16, 8, 4, 2
FREE = views() | {"constant"}
PRODUCTS = of_family(Family.BILINEAR)
#: Maps whose weight is applied at every entry of what they read.
SPREADING = of_family(Family.TRANSPOSE) | {"conv_transpose2d"}


def work_of(node: Node, weights: Mapping[str, Strided], sizes: Mapping[str, int]) -> float:
    """The cost of a node, in bytes moved: what it reads and writes, or its arithmetic where that
    takes longer. Views cost nothing."""
    if node.op in FREE:
        return 0.0
    values = {v.name: v for v in (*node.inputs, *node.outputs)}.values()
    used = [weights[name] for name in _weights(node) if name in weights]
    moved = sum(_bytes(v, sizes) for v in values) + sum(w.bytes for w in used)
    moved *= PASSES if node.op == "softmax" and _row(node, sizes) < SHORT else 1
    return max(float(moved), _multiplications(node, used, sizes) / BALANCE)


def works_of(
    nodes: Iterable[Node], weights: Mapping[str, Strided], sizes: Mapping[str, int]
) -> tuple[float, float]:
    """The cost of a relevance pass for each seed, and for all of them."""
    each = once = 0.0
    for node in nodes:
        own, shapes = work_of(node, weights, sizes), (v.type.shape for v in node.outputs)
        seeded = any(isinstance(d, Sym) and d.seeds for shape in shapes for d in shape)
        each, once = each + own * seeded, once + own * (not seeded)
    return each, once


def work_of_tables(size: int) -> int:
    """The cost of what a sampling shares with others, of so many bytes."""
    return SHARED * size


def _row(node: Node, sizes: Mapping[str, int]) -> int:
    return node.out.type.sized(sizes)[node.integer("dim")]


def _weights(node: Node) -> list[str]:
    row = TABLE[node.op]
    return [str(value) for key, value in node.attrs if row.kind(key) == "weight" and value]


def _bytes(value: Value, sizes: Mapping[str, int]) -> int:
    return prod(value.type.sized(sizes)) * DTYPES[value.type.dtype].itemsize


def _multiplications(node: Node, used: list[Strided], sizes: Mapping[str, int]) -> float:
    """Of a map: each entry of its weight once for every place that it is applied at. Of a product:
    the larger operand times the columns of the other. Of a sampling: the entries of the locations
    times the channels of a head and the four corners."""
    out = max((prod(v.type.sized(sizes)) for v in node.outputs), default=0)
    if TABLE[node.op].operand("locations") is not None:
        return GATHERED * 8.0 * out * _points(node, sizes)
    if used and max(len(w.shape) for w in used) > 1:
        weight = max(used, key=lambda w: len(w.shape))
        rows = node.inputs[0] if node.op in SPREADING else node.outputs[0]
        return prod(rows.type.sized(sizes)) * prod(weight.shape) / max(weight.shape[0], 1)
    if node.op in PRODUCTS:
        left, right = (prod(v.type.sized(sizes)) for v in node.inputs[:2])
        return math.sqrt(left * right * out)  # m·k, k·n and m·n of a plain product
    return 0.0


def _points(node: Node, sizes: Mapping[str, int]) -> int:
    """Sampling points of a query and head: levels times points."""
    shapes = [v.type.sized(sizes) for v in node.inputs if v.type.rank == 6]
    return prod(shapes[0][3:5]) if shapes else 16
