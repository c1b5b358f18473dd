"""Gives every node that carries relevance the rule that the composite has for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from lrpc.errors import RuleError
from lrpc.ir.graph import Graph, Module, Node, Rule
from passes.class_maps import class_maps
from passes.kinds import CONVOLUTIONS
from passes.reachable import COORDINATE, carries, receiving, relevance_reachable
from passes.rewrite import map_nodes

_ATTENTION = ("attention_probabilities", "attention_values", "deformable_sampling")


class RuleMap(Protocol):
    """What this pass needs of a composite."""

    def rule_for(self, node: Node, where: frozenset[str]) -> Rule | None: ...


@dataclass(frozen=True)
class AssignRules:
    """Sets `rule` on every node with a carrying output; a node without one gets none.

    A node of role `coordinate` carries once the composite has a rule for that very role.
    """

    composite: RuleMap
    name: ClassVar[str] = "assign_rules"

    def run(self, module: Module) -> Module:
        able, reached = relevance_reachable(module.graph), receiving(module.graph)
        graph = module.graph
        where = {
            "first": first_maps(graph),
            "classes": class_maps(graph),
            "backbone": backbone(graph),
        }

        def change(node: Node) -> Node:
            return replace(node, rule=self._rule(node, able, reached, where))

        return map_nodes(module, change)

    def _rule(
        self,
        node: Node,
        able: frozenset[str],
        reached: frozenset[str],
        where: Mapping[str, frozenset[str]],
    ) -> Rule | None:
        if not carries(node, able) and node.role != COORDINATE:
            return None
        try:
            own = {value.name for value in node.outputs[:1]}
            holds = frozenset(name for name, outputs in where.items() if own & outputs)
            return self.composite.rule_for(node, holds)
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


def backbone(graph: Graph) -> frozenset[str]:
    """Names of the outputs of those linear maps and convolutions that extract features: no
    attention comes before them, and an activation comes after, before the first attention. What
    projects the features for the attention is not among them; without attention, all maps are."""
    after, bare = _after_attention(graph), set[str]()
    for node in reversed(graph.nodes):
        names = {value.name for value in node.outputs}
        if names & after or (names & bare and node.role != "activation"):
            bare.update(value.name for value in node.inputs)
    maps = (node for node in graph.nodes if node.op == "linear" or node.op in CONVOLUTIONS)
    outputs = {value.name for node in maps for value in node.outputs}
    return frozenset(outputs - after - bare)


def _after_attention(graph: Graph) -> set[str]:
    """Names of the outputs of attention, and of all that they lead to."""
    found: set[str] = set()
    for node in graph.nodes:
        if node.role in _ATTENTION or any(value.name in found for value in node.inputs):
            found.update(value.name for value in node.outputs)
    return found
