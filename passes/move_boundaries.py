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
        marks = dict(graph.marks)
        for name in self.boundaries:
            if name not in marks:
                known = ", ".join(marks) or "none"
                raise RuleError(f"no value is marked {name!r} in @{graph.name}; marks: {known}")
            before = graph.producers.get(marks[name].name)
            while before is not None and before.op == "permute":
                source = before.inputs[0]
                if len(graph.users[source.name]) == 1:
                    break
                marks[name] = source
                before = graph.producers.get(source.name)
        return module.with_graph(replace(graph, marks=tuple(marks.items())))
