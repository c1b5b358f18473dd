"""Moves boundaries off permutations that relevance could go round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from lrpc.errors import RuleError
from lrpc.ir.graph import Module


@dataclass(frozen=True)
class MoveBoundaries:
    """Moves each boundary that merely permutes a value to that value where it is used.

    Relevance could go round it otherwise: a permutation and its inverse have been dropped where
    one followed the other.
    """

    boundaries: tuple[str, ...] = ()
    name: ClassVar[str] = "move_boundaries"

    def run(self, module: Module) -> Module:
        graph = module.graph
        places = dict(graph.places)
        for name in self.boundaries:
            if name not in places:
                known = ", ".join(places) or "none"
                raise RuleError(f"@{graph.name} has no place {name!r}; places: {known}")
            before = graph.producers.get(places[name].name)
            while before is not None and before.op == "permute":
                source = before.inputs[0]
                if len(graph.users[source.name]) == 1:
                    break
                places[name] = source
                before = graph.producers.get(source.name)
        return module.with_graph(replace(graph, places=tuple(places.items())))
