"""Finds attention by its shape: softmax of a product of activations, multiplied with values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.ops import Family, of_family
from passes.kinds import BY_NUMBER, PRODUCTS, STRUCTURAL, SUMS
from passes.reachable import relevance_reachable

TO_VALUES = STRUCTURAL - {"cat"} | {"detach"}
TO_SCORES = STRUCTURAL | SUMS | BY_NUMBER | of_family(Family.PRODUCT, Family.DETACH)
TO_SCORES |= {"tanh"}  # which bounds them


@dataclass(frozen=True)
class Attention:
    """One attention: products that make scores (none, or several added up), softmax, mixing."""

    scores: tuple[Node, ...]
    softmax: Node
    values: tuple[Node, ...]


def attentions(graph: Graph) -> tuple[Attention, ...]:
    """Every softmax whose output is the weights in a product with activations.

    In a matmul the weights are the first operand, in an einsum either.
    """
    able = relevance_reachable(graph)
    found = []
    for node in graph.nodes:
        if node.op == "softmax" and node.out.name in able:
            values = tuple(dict.fromkeys(_values(graph, node.out, able)))
            if values:
                scores = tuple(dict.fromkeys(_scores(graph, node.inputs[0], able)))
                found.append(Attention(scores, node, values))
    return tuple(found)


def bilinear(node: Node, able: frozenset[str]) -> bool:
    """Whether `node` is a product of two activations."""
    return node.op in PRODUCTS and all(v.name in able for v in node.inputs)


def _values(graph: Graph, weights: Value, able: frozenset[str]) -> Iterator[Node]:
    for user in graph.users.get(weights.name, ()):
        if user.op in TO_VALUES:
            yield from _values(graph, user.out, able)
        elif bilinear(user, able):
            first = user.inputs[0].name == weights.name
            if (first or user.op == "einsum") and user.inputs[0] != user.inputs[1]:
                yield user


def _scores(graph: Graph, value: Value, able: frozenset[str]) -> Iterator[Node]:
    node = graph.producers.get(value.name)
    if node is None or value.name not in able:
        return
    if node.op in PRODUCTS:  # of queries and keys, even if one of them is a constant
        yield node
    elif node.op in TO_SCORES:
        if node.op in ("mul", "div") and all(v.name in able for v in node.inputs):
            return
        for operand in node.inputs:
            yield from _scores(graph, operand, able)
