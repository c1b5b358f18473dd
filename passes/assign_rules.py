"""Gives every node that carries relevance the rule that the composite has for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from lrpc.errors import RuleError
from lrpc.ir.graph import Graph, Module, Node, Rule
from passes.class_maps import class_maps
from passes.kinds import CONVOLUTIONS
from passes.reachable import COORDINATE, carries, receiving, relevance_reachable
from passes.rewrite import map_nodes


class RuleMap(Protocol):
    """What this pass needs of a composite."""

    def rule_for(self, node: Node, first: bool, classes: bool) -> Rule | None: ...


@dataclass(frozen=True)
class AssignRules:
    """Sets `rule` on every node with a carrying output; a node without one gets none.

    A node of role `coordinate` carries once the composite has a rule for that very role.
    """

    composite: RuleMap
    name: ClassVar[str] = "assign_rules"

    def run(self, module: Module) -> Module:
        able, reached = relevance_reachable(module.graph), receiving(module.graph)
        which = first_maps(module.graph), class_maps(module.graph)

        def change(node: Node) -> Node:
            return replace(node, rule=self._rule(node, able, reached, which))

        return map_nodes(module, change)

    def _rule(
        self,
        node: Node,
        able: frozenset[str],
        reached: frozenset[str],
        which: tuple[frozenset[str], ...],
    ) -> Rule | None:
        if not carries(node, able) and node.role != COORDINATE:
            return None
        try:
            is_first, is_class = (bool(node.outputs) and node.out.name in one for one in which)
            return self.composite.rule_for(node, is_first, is_class)
        except RuleError as error:
            if not carries(node, reached):  # nothing arrives here, so no rule is missed
                return None
            place = f"{node.op} of role {node.role or 'none'} ({node.loc})"
            remedy = "give it a rule under LRPC.RULES, or write it with operations that have one"
            raise RuleError(f"{error}, for {place}; {remedy}") from error


def first_maps(graph: Graph) -> frozenset[str]:
    """Names of the outputs of those linear maps and convolutions that a carrying graph input
    reaches through no other."""
    able = relevance_reachable(graph)
    plain = {value.name for value in graph.inputs if value.name in able}
    found = set()
    for node in graph.nodes:
        if not any(value.name in plain for value in node.inputs):
            continue
        names = [value.name for value in node.outputs if value.name in able]
        if node.op == "linear" or node.op in CONVOLUTIONS:
            found.update(names)
        else:
            plain.update(names)
    return frozenset(found)
