"""Marks what the passes before it left: every node has a role afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lrpc.ir.graph import Module, Node
from lrpc.ir.ops import TABLE, Family
from passes.reachable import carries, relevance_reachable
from passes.rewrite import with_roles

# The roles of those families that have one for all of them; of others, the operation is its own.
ROLES: dict[Family, str] = {
    Family.LINEAR: "linear",
    Family.CONVOLUTION: "convolution",
    Family.BILINEAR: "bilinear",
    Family.PRODUCT: "product",
    Family.SUM: "merge",
    Family.SCALING: "structural",
    Family.STRUCTURAL: "structural",
    Family.SELECTION: "selection",
    Family.ACTIVATION: "activation",
    Family.FUNCTION: "activation",
    Family.SOFTMAX: "softmax",
    Family.POOLING: "pooling",
    Family.INTERPOLATION: "interpolation",
    Family.SAMPLING: "sampling",
    Family.DETACH: "detach",
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
    return "normaliser" if inverse else ROLES.get(TABLE[node.op].family, node.op)
