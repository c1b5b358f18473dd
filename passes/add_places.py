"""Names places where relevance can start and end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from lrpc.ir.graph import Module
from passes.reachable import relevance_reachable


@dataclass(frozen=True)
class AddPlaces:
    """Adds a place `output.NAME` on each output, and `input.NAME` on each input that can carry
    relevance: floats, and tokens."""

    name: ClassVar[str] = "add_places"

    def run(self, module: Module) -> Module:
        graph = module.graph
        places = dict(graph.places)
        places |= {f"output.{name}": value for name, value in graph.outputs}
        able = relevance_reachable(graph)
        places |= {f"input.{v.name}": v for v in graph.inputs if v.name in able}
        return module.with_graph(replace(graph, places=tuple(places.items())))
