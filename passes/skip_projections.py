"""Lets relevance pass unchanged through the projections around sampling that is splatted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from lrpc.ir.graph import Graph, Module, Node, Rule, Value
from passes.kinds import MOVING
from passes.rewrite import map_nodes

SPLATTING = frozenset({"splat", "splat_value"})


@dataclass(frozen=True)
class SkipProjections:
    """Sets rule `pass` on the value and output projections of sampling with a splat rule.

    Splatting says where relevance was sampled from, channel by channel, and leaves values out: the
    linear map that made the values, and the one that reads the samples, stay out as well.
    """

    name: ClassVar[str] = "skip_projections"

    def run(self, module: Module) -> Module:
        graph = module.graph
        skipped: set[str] = set()
        for node in graph.nodes:
            if node.rule is not None and node.rule.name in SPLATTING:
                skipped.update(_before(graph, node.inputs[0]))
                skipped.update(_after(graph, node.out))

        def change(node: Node) -> Node:
            found = bool(node.outputs) and node.out.name in skipped and node.rule is not None
            return replace(node, rule=Rule("pass")) if found else node

        return map_nodes(module, change)


def _before(graph: Graph, value: Value) -> Iterator[str]:
    """The name of what the linear map behind `value` makes, where structure alone lies between."""
    node = graph.producers.get(value.name)
    while node is not None and node.op in MOVING:
        node = graph.producers.get(node.inputs[0].name)
    if node is not None and node.op == "linear":
        yield node.out.name


def _after(graph: Graph, value: Value) -> Iterator[str]:
    for node in graph.users.get(value.name, ()):
        if node.op == "linear":
            yield node.out.name
        elif node.op in MOVING and node.inputs[0] == value:
            yield from _after(graph, node.out)
