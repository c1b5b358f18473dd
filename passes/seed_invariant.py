"""Operations of the relevance half that hang on no seed: known apart from the graph they are in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from lrpc.ir.graph import Attr, Graph, Node, Value
from lrpc.ir.ops import TABLE, Trait, with_trait
from lrpc.ir.types import Sym

CHEAP = with_trait(Trait.CHEAP)
SEED_FREE = CHEAP | with_trait(Trait.MOVABLE)


@dataclass
class SeedInvariant:
    """What several joint graphs compute from forward values alone by operations in SEED_FREE.

    `nodes` has each such operation once, in program order, under a name of its own; `names` says,
    for each graph, under which name a value of the graph is known: forward values under theirs.
    `fixed` are those that hang on no forward value either.
    """

    forward: Graph
    nodes: dict[str, Node] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    _known: dict[object, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def read(self, graphs: Iterable[Graph]) -> list[dict[str, Value]]:
        """The values of each graph that are forward values or known here, under their own names."""
        graphs = list(graphs)
        self._taken |= {v.name for graph in (self.forward, *graphs) for v in graph.values()}
        own = {v.name: v for v in self.forward.values()}
        return [self._read(graph, own) for graph in graphs]

    def _read(self, graph: Graph, own: dict[str, Value]) -> dict[str, Value]:
        found = dict(own)
        for node in graph.nodes:
            if not node.outputs or node.out.name in own or node.op not in SEED_FREE:
                continue
            if all(v.name in found for v in node.inputs) and not _has_seeds(node.out.type.shape):
                found[node.out.name] = self._value(node, [found[v.name] for v in node.inputs])
        return found

    def _value(self, node: Node, inputs: list[Value]) -> Value:
        names = [v.name for v in inputs]
        operands = sorted(names) if TABLE[node.op].has(Trait.COMMUTES) else names
        key = (node.op, *operands, node.attrs)
        if key not in self._known:
            name = self._fresh(node.op)
            self._known[key] = name
            made = Value(name, node.out.type)
            self.nodes[name] = replace(node, inputs=tuple(inputs), outputs=(made,))
            if all(name in self.fixed for name in names):
                self.fixed.add(name)
        return self.nodes[self._known[key]].out

    def _fresh(self, op: str) -> str:
        count = len(self.nodes)
        while (name := f"kept_{op}_{count}") in self._taken:
            count += 1
        self._taken.add(name)
        return name


def _has_seeds(shape: Attr) -> bool:
    if isinstance(shape, tuple):
        return any(_has_seeds(part) for part in shape)
    return isinstance(shape, Sym) and shape.seeds > 0
