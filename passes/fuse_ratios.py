"""fuse_ratios: relevance times a stabilised ratio becomes one operation, which needs no memory for
the ratio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar

from lrpc.ir.blocks import block_of
from lrpc.ir.graph import Graph, Node
from passes.base import Joints


@dataclass(frozen=True)
class FuseRatios:
    """Puts `stab_mul` for each product with a `stab_ratio` that serves it alone; values of the
    forward pass stay, which keeps what it has."""

    name: ClassVar[str] = "fuse_ratios"

    def run(self, joints: Joints) -> Joints:
        own = {v.name for v in joints.forward.values()}
        pairs = tuple((fused(a, own), fused(b, own)) for a, b in joints.pairs)
        return replace(joints, pairs=pairs)


def fused(joint: Graph, forward: Collection[str]) -> Graph:
    """One joint graph with its ratios fused."""
    uses = Counter(v.name for node in joint.nodes for v in node.inputs)
    ratios = {
        node.out.name: node
        for node in joint.nodes
        if node.op == "stab_ratio" and uses[node.out.name] == 1 and node.out.name not in forward
    }
    gone: set[str] = set()
    nodes = []
    for node in joint.nodes:
        made = _fused(node, ratios)
        if made is not None:
            gone |= {v.name for v in node.inputs if v.name in ratios}
        nodes.append(made or node)
    kept = (n for n in nodes if not n.outputs or n.out.name not in gone)
    return replace(joint, nodes=tuple(kept))


def _fused(node: Node, ratios: dict[str, Node]) -> Node | None:
    if node.op != "mul":
        return None
    for g, factor in (node.inputs, node.inputs[::-1]):
        ratio = ratios.get(factor.name)
        if ratio is None or block_of(ratio.loc.module) != block_of(node.loc.module):
            continue
        _, *shape = g.type.shape
        if g.type == node.out.type and tuple(shape) == factor.type.shape:
            inputs = (g, ratio.inputs[0])
            return replace(node, op="stab_mul", inputs=inputs, attrs=ratio.attrs)
    return None
