"""How activations flow through a graph: reachability on a networkx view of its values."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import networkx as nx  # type: ignore[import-untyped]

from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.ops import Family, of_family
from passes.attention import attentions
from passes.kinds import BY_NUMBER, LEARNED, NORMS, SAMPLING, STRUCTURAL
from passes.reachable import relevance_reachable

# What stands between a token with its position and the scores or sampling places made from it.
TO_QUERY = (
    STRUCTURAL
    | NORMS
    | BY_NUMBER
    | of_family(Family.LINEAR, Family.SUM, Family.PRODUCT, Family.SOFTMAX)
)


class Flow:
    """The activations of a graph and the paths between them; a path does not cross a `detach`."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.able = relevance_reachable(graph)
        self.view = nx.DiGraph()
        self.view.add_nodes_from(self.able)
        for node in graph.nodes:
            if node.op != "detach":
                sources = [v.name for v in node.inputs if v.name in self.able]
                targets = [v.name for v in node.outputs if v.name in self.able]
                self.view.add_edges_from((s, t) for s in sources for t in targets)
        self._fed: dict[tuple[str, bool], bool] = {}

    def between(self, start: str, end: str) -> frozenset[str]:
        """Names of the values on paths from `start` to `end`, `end` included, `start` not."""
        return frozenset(nx.descendants(self.view, start) & (nx.ancestors(self.view, end) | {end}))

    def maps(self, names: frozenset[str]) -> int:
        """How many learned maps make the values of these names."""
        return sum(self.graph.producers[name].op in LEARNED for name in names)

    def activation(self, value: Value) -> bool:
        return value.name in self.able

    @cached_property
    def outputs(self) -> frozenset[str]:
        return frozenset(value.name for _, value in self.graph.outputs)

    @cached_property
    def _scores(self) -> frozenset[str]:
        found = attentions(self.graph)
        return frozenset(node.out.name for each in found for node in each.scores)

    def feeds_queries_only(self, value: Value, projected: bool = False) -> bool:
        """Whether `value` is used for nothing but attention scores and sampling, by linear maps.

        Deformable attention's locations and weights count as its scores. What is not `projected`
        by a linear map on the way (a reference point, a score itself) does not count.
        """
        key = (value.name, projected)
        if key not in self._fed:
            users = self.graph.users.get(value.name, ())
            self._fed[key] = (
                bool(users)
                and value.name not in self.outputs
                and all(self._query_use(user, value, projected) for user in users)
            )
        return self._fed[key]

    def _query_use(self, user: Node, value: Value, projected: bool) -> bool:
        if user.outputs and user.out.name in self._scores:
            return projected
        if user.op in SAMPLING:
            return projected and value != user.inputs[0]
        if user.op in TO_QUERY:
            return self.feeds_queries_only(user.out, projected or user.op == "linear")
        return False

    def feeds_locations_only(self, value: Value) -> bool:
        """Whether `value` is, up to structure, nothing but the places deformable sampling reads."""

        def use(user: Node) -> bool:
            if user.op in SAMPLING:
                return user.inputs[1] == value
            return user.op in STRUCTURAL and self.feeds_locations_only(user.out)

        users = self.graph.users.get(value.name, ())
        return bool(users) and value.name not in self.outputs and all(map(use, users))

    def feeds_a_map(self, value: Value) -> bool:
        """Whether `value`, as it is or normalised, is the input of a learned map."""
        return any(
            (user.op in LEARNED and not (user.op in SAMPLING and value != user.inputs[0]))
            or (user.op in STRUCTURAL | NORMS and self.feeds_a_map(user.out))
            for user in self.graph.users.get(value.name, ())
        )

    def back(self, value: Value, through: Callable[[Node], bool]) -> list[Value]:
        """`value` and what it comes from along first operands, as long as `through` accepts."""
        found = [value]
        node = self.graph.producers.get(value.name)
        while node is not None and node.inputs and through(node):
            found.append(node.inputs[0])
            node = self.graph.producers.get(node.inputs[0].name)
        return found
