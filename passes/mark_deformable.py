"""Marks deformable sampling, and which nodes only say where maps are sampled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from lrpc.ir.graph import Graph, Module, Node, Value
from lrpc.ir.ops import Family, Trait, of_family, with_trait
from passes.kinds import ACTIVATIONS, POOLS, SAMPLING, STRUCTURAL, SUMS
from passes.reachable import COORDINATE, relevance_reachable
from passes.rewrite import with_roles

# What coordinates are computed with. Anything else (a linear map, a norm, a product of activations,
# a graph input) is where content begins, and keeps its own role.
ARITHMETIC = (
    STRUCTURAL
    | SUMS
    | ACTIVATIONS
    | of_family(Family.SCALING, Family.PRODUCT, Family.SELECTION, Family.DETACH, Family.BOXES)
    | (POOLS - with_trait(Trait.CHANNELS_FIRST))
)
CONTENT = frozenset({"residual", "positional"})
TO_WEIGHTS = STRUCTURAL | {"detach"}


@dataclass(frozen=True)
class MarkDeformable:
    """Roles `deformable_sampling`, `deformable_probabilities` and `coordinate`.

    Coordinates are walked back from the sampling locations through arithmetic, structure and
    selection. A `detach` is marked and ends the walk: the box above it may be an output, and its
    relevance is its own. Where a box is detached for the next layer, whatever else reads the box
    from then on reads the detached one (the value is the same): reference boxes are detached
    however the model's code passes them on.
    """

    name: ClassVar[str] = "mark_deformable"

    def run(self, module: Module) -> Module:
        graph = module.graph
        able, data = relevance_reachable(graph), _from_data(graph)
        roles: dict[str, str] = {}
        for node in graph.nodes:
            if node.op not in SAMPLING or node.out.name not in able:
                continue
            roles |= dict.fromkeys(_coordinates(graph, node.inputs[1], data), COORDINATE)
            if node.op == "deform_sample":
                roles[node.out.name] = "deformable_sampling"
                if (softmax := _softmax_before(graph, node.inputs[2])) is not None:
                    roles[softmax.out.name] = "deformable_probabilities"
        return _read_detached(with_roles(module, roles))


def _read_detached(module: Module) -> Module:
    """`module` with later uses of a detached reference box moved to its detached copy."""
    graph = module.graph
    copies: dict[str, Value] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(copies.get(v.name, v) for v in node.inputs)
        nodes.append(node if inputs == node.inputs else replace(node, inputs=inputs))
        if node.op == "detach" and node.role == COORDINATE and _is_box(graph, node.inputs[0]):
            copies[node.inputs[0].name] = node.out
    return module.with_graph(graph.with_nodes(nodes))


def _is_box(graph: Graph, value: Value) -> bool:
    producer = graph.producers.get(value.name)
    return producer is not None and producer.op == "sigmoid" and value.type.shape[-1] in (2, 4)


def _softmax_before(graph: Graph, value: Value) -> Node | None:
    node = graph.producers.get(value.name)
    while node is not None and node.op in TO_WEIGHTS:
        node = graph.producers.get(node.inputs[0].name)
    return node if node is not None and node.op == "softmax" else None


def _from_data(graph: Graph) -> set[str]:
    """Names of the float values that depend on a graph input, in whatever way."""
    found = {value.name for value in graph.inputs}
    for node in graph.nodes:
        if any(value.name in found for value in node.inputs):
            found.update(value.name for value in node.outputs)
    return {value.name for value in graph.values() if value.type.is_float} & found


def _coordinates(graph: Graph, location: Value, data: set[str]) -> set[str]:
    found: set[str] = set()
    waiting = [location]
    while waiting:
        node = graph.producers.get(waiting.pop().name)
        if node is None or node.op not in ARITHMETIC or node.role in CONTENT:
            continue
        name = node.outputs[0].name
        # Grids and sizes are constants of the program; a comparison is where content ends.
        if name in found or name not in data:
            continue
        found.add(name)
        if node.op != "detach":
            waiting.extend(node.inputs)
    return found
