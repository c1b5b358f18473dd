"""Which values can carry relevance; what the mark passes and the lowering both ask."""

from __future__ import annotations

from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.ops import Family, Trait, of_family, with_trait
from passes.kinds import STRUCTURAL

COORDINATE = "coordinate"
# Without a slope: nothing of what they give came from a small change.
FLAT = of_family(Family.STEP)
# With the rule `detach`, they are constants.
DETACHED = of_family(Family.DETACH) | with_trait(Trait.INVERTS)


def relevance_reachable(graph: Graph) -> frozenset[str]:
    """Names of the values that can carry relevance.

    Those are float values that depend on a float graph input through float values alone (so not
    through a comparison or an index), not through a rounding, not through a node of role
    `coordinate` that has no rule, and not through one whose rule is `detach`; and tokens, which
    embeddings look up.
    """
    tokens = _tokens(graph)
    found = {value.name for value in graph.inputs if value.type.is_float}
    for node in graph.nodes:
        looked_up = node.op == "embedding" and node.inputs[0].name in tokens
        if not _stops(node) and (looked_up or any(v.name in found for v in node.inputs)):
            found.update(value.name for value in node.outputs if value.type.is_float)
    return frozenset(found | tokens)


def _tokens(graph: Graph) -> frozenset[str]:
    """Names of whole numbers that embeddings look up, moved there from a graph input, at most."""
    given = {value.name for value in graph.inputs if _whole(value)}
    for node in graph.nodes:
        if node.op in STRUCTURAL and any(value.name in given for value in node.inputs):
            given.update(value.name for value in node.outputs if _whole(value))
    found: set[str] = set()
    for node in reversed(graph.nodes):
        moves = node.op in STRUCTURAL and any(value.name in found for value in node.outputs)
        if moves or node.op == "embedding":
            found.update(value.name for value in node.inputs if value.name in given)
    return frozenset(found)


def _whole(value: Value) -> bool:
    return not value.type.is_float and value.type.dtype != "bool"


def _stops(node: Node) -> bool:
    if node.op in FLAT:
        return True
    if node.rule is None:
        return node.role == COORDINATE
    return node.op in DETACHED and node.rule.name == "detach"


def receiving(graph: Graph) -> frozenset[str]:
    """Names of the carrying values that an output or a place depends on through such values."""
    able = relevance_reachable(graph)
    ends = (*graph.outputs, *graph.places)
    found = {value.name for _, value in ends if value.name in able}
    for node in reversed(graph.nodes):
        if any(value.name in found for value in node.outputs):
            found.update(value.name for value in node.inputs if value.name in able)
    return frozenset(found)


def carries(node: Node, able: frozenset[str]) -> bool:
    """Whether any output of `node` is among the carrying values."""
    return any(value.name in able for value in node.outputs)
