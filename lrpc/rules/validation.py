"""Rules as a graph states them, which may have been edited by hand."""

from __future__ import annotations

from lrpc.errors import RuleError
from lrpc.ir.graph import Graph, Node, Rule
from lrpc.rules import find


def check_rules(graph: Graph) -> Graph:
    """`graph` as it is; RuleError for the first node whose rule its operation does not have, or
    whose parameters are unknown, out of range or missing.

    Words may be left out, which stand at their defaults; a number must be written, since a graph
    says all that its program does.
    """
    for node in graph.nodes:
        if node.rule is None or not node.outputs:
            continue
        try:
            _check(node, node.rule)
        except RuleError as error:
            raise RuleError(f"%{node.out.name} = {node.op} ({node.loc}): {error}") from None
    return graph


def _check(node: Node, rule: Rule) -> None:
    whole = find(node.op, rule.name).make(dict(rule.params))
    given = dict(rule.params)
    missing = [f"{key}={value!r}" for key, value in whole.params if key not in given]
    if missing:
        raise RuleError(
            f"rule {rule.name} misses {', '.join(missing)}, as by default; write it into the graph"
        )
