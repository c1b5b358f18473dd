"""Marks normalisations by their operation, whatever stands before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lrpc.ir.graph import Module
from passes.kinds import NORMS
from passes.reachable import carries, relevance_reachable
from passes.rewrite import with_roles


@dataclass(frozen=True)
class MarkLayerNorm:
    """Roles `layer_norm`, `group_norm` and `batch_norm`: one that no fold could remove."""

    name: ClassVar[str] = "mark_layer_norm"

    def run(self, module: Module) -> Module:
        able = relevance_reachable(module.graph)
        nodes = (n for n in module.graph.nodes if n.op in NORMS and carries(n, able))
        return with_roles(module, {node.out.name: node.op for node in nodes})
