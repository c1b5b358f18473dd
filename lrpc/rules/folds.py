"""Axes that hold several entries of every image, as [B·T, C]: which of the two counts faster."""

from __future__ import annotations

import math

from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.types import Sym, whole


def folded(value: Value) -> int:
    """How many entries of each image the batch axis holds; 1 where it is the batch alone."""
    found = batch_axis(value)
    return 1 if found is None else found[1]


def batch_axis(value: Value) -> tuple[int, int] | None:
    """The axis that holds the batch, and how many entries of each image it holds."""
    for axis, extent in enumerate(value.type.shape):
        if isinstance(extent, Sym) and extent.batch:
            return axis, extent.coeff
    return None


def images_last(graph: Graph) -> frozenset[str]:
    """Names of the values whose folded axis counts images faster than an image's own entries.

    A reshape of [T, B, C] makes such an axis, one of [B, T, C] the other kind.
    """
    found: set[str] = set()
    for node in graph.nodes:
        if node.op == "reshape" and folded(node.out) != folded(node.inputs[0]):
            if folded(node.out) > 1 and _merges_what_is_before(node):
                found.add(node.out.name)
        elif any(value.name in found for value in node.inputs):
            found.update(value.name for value in node.outputs if folded(value) > 1)
    return frozenset(found)


def _merges_what_is_before(node: Node) -> bool:
    before, after = batch_axis(node.inputs[0]), batch_axis(node.out)
    if before is None or after is None:
        return False
    return _extent(node.inputs[0], before[0]) != _extent(node.out, after[0])


def _extent(value: Value, axis: int) -> int:
    """How many entries lie along the axes before `axis`."""
    return math.prod(whole(extent) for extent in value.type.shape[:axis])
