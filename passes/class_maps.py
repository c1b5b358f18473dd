"""Which maps give the logits of classes: those that a rule may look at class by class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod

from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.ops import TABLE, Family, Trait, with_trait
from lrpc.ir.types import Dim
from passes.drop_identities import axes
from passes.kinds import CONVOLUTIONS, SUMS
from passes.reachable import relevance_reachable

NAMES = re.compile(r"output\.((pred_|proposal_|class_queries_)?logits|layer_logits\.\d+)")
ENTRYWISE = with_trait(Trait.ELEMENTWISE)
ALONG = (Family.STRUCTURAL, Family.SELECTION, Family.SCALING)  # they move or add, along `dim`
SCALED = frozenset({"mul", "div"})

Axis = tuple[Value, int]  # of a value, counted from the front


def class_maps(graph: Graph) -> frozenset[str]:
    """Names of the outputs of those linear maps and convolutions whose channels are classes.

    They are where a value that is returned under a name that detectors and classifiers have for
    logits has all channels of the map, and nothing else, along one axis. A map whose channels are
    split into classes and boxes, or joined with those of another, gives no classes as a whole.
    """
    able = relevance_reachable(graph)
    places = {**graph.value_at, **{f"output.{name}": value for name, value in graph.outputs}}
    logits = [value for place, value in places.items() if NAMES.fullmatch(place)]
    todo = [(value, axis) for value in logits for axis in range(value.type.rank)]
    found, seen = set(), set()
    while todo:
        value, axis = step = todo.pop()
        node = graph.producers.get(value.name)
        if node is None or step in seen:
            continue
        seen.add(step)
        if node.op == "linear" or node.op in CONVOLUTIONS:
            if axis == class_axis(node) % value.type.rank:
                found.add(value.name)
        elif node.outputs[0] == value:
            todo += _before(node, axis, able)
    return frozenset(found)


def class_axis(node: Node) -> int:
    """The axis of a map's channels, counted from the end."""
    return -1 if node.op == "linear" else 1 - node.out.type.rank


def _before(node: Node, axis: int, able: frozenset[str]) -> list[Axis]:
    """The axes of operands whose entries, all of them and in a row, are those of this `axis`."""
    if node.op in ENTRYWISE and (node.role == "structural" or node.op in SUMS):
        return _entrywise(node, axis, able)
    x, shape = node.inputs[0], node.outputs[0].type.shape
    match node.op:
        case "permute":
            return [(x, axes(node)[axis])]
        case "reshape":
            return _kept(x, shape, axis)
        case "expand":
            return _aligned([x], shape, axis)
        case "flip":
            return [(x, axis)]
        case "interpolate" | "avg_pool2d":
            return [(x, axis)] if axis < len(shape) - 2 else []
        case "pad":
            pads = node.integers("pad")[2 * (len(shape) - 1 - axis) :][:2]
            return [] if any(pads) else [(x, axis)]
        case "sum" | "mean":
            gone = {dim % x.type.rank for dim in node.integers("dims")}
            keepdim = bool(node.attr("keepdim"))
            left = [dim for dim in range(x.type.rank) if keepdim or dim not in gone]
            return [] if left[axis] in gone else [(x, left[axis])]
    if TABLE[node.op].family in ALONG and isinstance(node.attr("dim"), int):
        return _beside(node, node.inputs if node.op == "cat" else node.inputs[:1], axis)
    return []


def _beside(node: Node, values: Sequence[Value], axis: int) -> list[Axis]:
    """That axis of `values`, where it is another than the one along which the node works."""
    along = node.integer("dim") % node.outputs[0].type.rank
    return [] if along == axis else [(value, axis) for value in values]


def _entrywise(node: Node, axis: int, able: frozenset[str]) -> list[Axis]:
    """Sums and multiples, class by class: each operand has the axis, and a factor is the same for
    all classes."""
    shape = node.out.type.shape
    carrying = [value for value in node.inputs if value.name in able]
    rest = [value for value in node.inputs if value.name not in able]
    found = _aligned(carrying, shape, axis)
    uneven = node.op in SCALED and _aligned(rest, shape, axis)
    return found if len(found) == len(carrying) and not uneven else []


def _aligned(values: Sequence[Value], shape: Sequence[Dim], axis: int) -> list[Axis]:
    """That axis of those operands which are not broadcast along it."""
    at = [(value, axis - len(shape) + value.type.rank) for value in values]
    return [(v, i) for v, i in at if i >= 0 and v.type.shape[i] == shape[axis]]


def _kept(x: Value, shape: Sequence[Dim], axis: int) -> list[Axis]:
    """The axis of `x` that a reshape neither splits nor joins."""
    before, size = prod(shape[:axis], start=1), shape[axis]
    given = x.type.shape
    return [
        (x, i)
        for i, extent in enumerate(given)
        if extent == size and prod(given[:i], start=1) == before
    ]
