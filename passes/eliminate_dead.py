"""Removes what nothing needs: nodes, and the weights that only they referred to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from lrpc.ir.graph import Module, Node
from passes.rewrite import prune_weights


@dataclass(frozen=True)
class EliminateDead:
    """Drops nodes that no output, no place and no effect (a node without outputs) needs.

    Without `keep_places`, places keep nothing alive, and those on removed values go as well.
    """

    keep_places: bool = True
    name: ClassVar[str] = "eliminate_dead"

    def run(self, module: Module) -> Module:
        graph = module.graph
        needed = {value.name for _, value in graph.outputs}
        if self.keep_places:
            needed |= {value.name for _, value in graph.places}
        kept: list[Node] = []
        for node in reversed(graph.nodes):
            if not node.outputs or any(value.name in needed for value in node.outputs):
                kept.append(node)
                needed.update(value.name for value in node.inputs)
        alive = needed | {value.name for node in kept for value in node.outputs}
        alive |= {value.name for value in graph.inputs}
        places = tuple((name, value) for name, value in graph.places if value.name in alive)
        live = replace(graph, nodes=tuple(reversed(kept)), places=places)
        return prune_weights(module.with_graph(live))
