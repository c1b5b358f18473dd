"""Marks products of activations and softmax: those of attention, and the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from lrpc.ir.graph import Module, Node
from passes.attention import TO_VALUES, attentions
from passes.reachable import relevance_reachable
from passes.rewrite import map_nodes


@dataclass(frozen=True)
class MarkAttention:
    """Roles `attention_scores`, `attention_probabilities`, `attention_values`, or else `bilinear`.

    A matmul or einsum of which one operand carries relevance is `bilinear` as well, an elementwise
    `mul` is `product`, a softmax outside attention `softmax`. In an einsum of role
    `attention_values` the probabilities become the first operand, as they are in a matmul.
    """

    name: ClassVar[str] = "mark_attention"

    def run(self, module: Module) -> Module:
        able = relevance_reachable(module.graph)
        roles: dict[str, str] = {}
        flipped: set[str] = set()
        for attention in attentions(module.graph):
            for node in attention.scores:
                roles[node.out.name] = "attention_scores"
            roles[attention.softmax.out.name] = "attention_probabilities"
            for node in attention.values:
                roles[node.out.name] = "attention_values"
                if _weights_last(node, attention.softmax, module):
                    flipped.add(node.out.name)

        def change(node: Node) -> Node:
            if not node.outputs or node.out.name not in able:
                return node
            role = roles.get(node.out.name) or _other(node)
            node = _swapped(node) if node.out.name in flipped else node
            return replace(node, role=role) if role else node

        return map_nodes(module, change)


def _other(node: Node) -> str:
    match node.op:
        case "matmul" | "einsum":
            return "bilinear"
        case "mul":
            return "product"
        case "softmax":
            return "softmax"
    return ""


def _weights_last(node: Node, softmax: Node, module: Module) -> bool:
    """Whether the second operand, not the first, comes from the softmax by structure alone."""
    value = node.inputs[0]
    while value != softmax.out:
        before = module.graph.producers.get(value.name)
        if before is None or before.op not in TO_VALUES:
            return True
        value = before.inputs[0]
    return False


def _swapped(node: Node) -> Node:
    terms, out = str(node.attr("equation")).replace(" ", "").split("->")
    left, right = terms.split(",")
    attrs = (("equation", f"{right},{left}->{out}"),)
    return replace(node, inputs=node.inputs[::-1], attrs=attrs)
