"""Marks what the passes before it left: every node has a role afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lrpc.ir.graph import Module, Node
from passes.kinds import ACTIVATIONS, CONVOLUTIONS, POOLS, SCALING, STRUCTURAL, SUMS
from passes.reachable import carries, relevance_reachable
from passes.rewrite import with_roles

ROLES: dict[str, str] = {
    "linear": "linear",
    "interpolate": "interpolation",
    "gather": "selection",
    "topk": "selection",
    "detach": "detach",
    "mul": "product",
    "matmul": "bilinear",
    "einsum": "bilinear",
    "softmax": "softmax",
    **dict.fromkeys(CONVOLUTIONS, "convolution"),
    **dict.fromkeys(ACTIVATIONS, "activation"),
    **dict.fromkeys(POOLS, "pooling"),
    **dict.fromkeys(STRUCTURAL | SCALING, "structural"),
    **dict.fromkeys(SUMS, "merge"),
}


@dataclass(frozen=True)
class MarkRest:
    """Roles by operation for nodes without one; `constant` where no output carries relevance."""

    name: ClassVar[str] = "mark_rest"

    def run(self, module: Module) -> Module:
        able = relevance_reachable(module.graph)
        bare = [node for node in module.graph.nodes if not node.role and node.outputs]
        return with_roles(module, {node.out.name: _role(node, able) for node in bare})


def _role(node: Node, able: frozenset[str]) -> str:
    if not carries(node, able):
        return "constant"
    inverse = node.op == "reciprocal" or (node.op == "pow" and node.number("exponent") <= 0)
    return "normaliser" if inverse else ROLES.get(node.op, node.op)
