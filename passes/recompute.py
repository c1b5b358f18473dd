"""Rewrites joint graphs around what the forward pass keeps: relevance recomputes the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from lrpc.ir.blocks import block_of
from lrpc.ir.graph import Graph, Loc, Node, Value
from lrpc.ir.ops import Family, Trait, of_family, with_trait
from passes.roots import size
from passes.seed_invariant import SeedInvariant

LONG = 16  # most operations in a row that the ledger makes again for what is small:
SMALL = 0.001  # of all that is kept
# What the ledger takes from the forward pass as it is: choices that rounding might turn.
ONCE = with_trait(Trait.CHOOSES) | of_family(Family.SAMPLING)


@dataclass
class Recomputation:
    """`moved` is the forward pass with what it computes for relevance; `kept` the memory that
    crosses, to which what the ledger reads from other blocks is added in writing."""

    forward: Graph
    moved: Graph
    shared: SeedInvariant
    roots: Mapping[str, Value]
    kept: set[str]

    @cached_property
    def _small(self) -> float:
        """The bytes that a value may have to be kept for the ledger alone."""
        return SMALL * sum(size(v) for v in self.moved.values() if v.name in self.kept)

    def spares(self, name: str) -> bool:
        """Whether keeping a value costs next to nothing, and spares a long row of operations."""
        if size(self.roots[name]) > self._small:
            return False
        ahead, seen = [name], set[str]()
        while ahead and len(seen) <= LONG:
            name = ahead.pop()
            node = self.forward.producers.get(name)
            if node is not None and name not in seen and self.roots[name].name not in self.kept:
                seen.add(name)
                ahead += [v.name for v in node.inputs]
        return len(seen) > LONG

    def graphs(self, joints: Iterable[tuple[Graph, Mapping[str, Value]]]) -> list[Graph]:
        """Joint graphs with relevance that reads nothing but what is kept, each given with its
        values that hang on no seed, as `SeedInvariant.read` knows them."""
        given, before = list(joints), -1
        while before != len(self.kept):  # what is kept for one graph, another need not make
            before = len(self.kept)
            found = [self.graph(joint, names) for joint, names in given]
        return found

    def graph(self, joint: Graph, names: Mapping[str, Value]) -> Graph:
        """One of them."""
        writer = _Writer(self, {v.name for v in (*joint.values(), *self.moved.values())})
        own = {v.name for v in self.forward.values()}
        for node in joint.nodes:
            if node.outputs and node.out.name in own:
                continue
            if node.outputs and node.out.name in names:
                writer.local.setdefault(names[node.out.name].name, node)
                continue
            inputs = tuple(
                writer.value(names[v.name].name, node.loc) if v.name in names else v
                for v in node.inputs
            )
            writer.nodes.append(node.reading(inputs))
        weights = {**dict(self.forward.weights), **dict(joint.weights)}
        nodes = (*self.moved.nodes, *writer.nodes)
        return replace(joint, nodes=nodes, weights=tuple(weights.items()))


@dataclass
class _Writer:
    """The relevance half of one joint graph, written anew; `local` has its own operations for
    values of `SeedInvariant`, which are emitted where the first reader stands."""

    plan: Recomputation
    taken: set[str]
    nodes: list[Node] = field(default_factory=list)
    local: dict[str, Node] = field(default_factory=dict)
    made: dict[tuple[str, str], Value] = field(default_factory=dict)

    def value(self, name: str, loc: Loc) -> Value:
        """A value for a reader at `loc`: kept, or computed in the reader's block."""
        if name in self.plan.shared.nodes:
            return self._seed_free(name)
        kept = self._kept(name, block_of(loc.module))
        if kept is not None:
            return kept
        key = (block_of(loc.module), name)
        if key not in self.made:
            self._recompute(name, loc)
        return self.made[key]

    def _seed_free(self, name: str) -> Value:
        node = self.plan.shared.nodes[name]
        if name in self.plan.kept:
            return node.out
        own = self.local.get(name, node)
        if ("", name) not in self.made:
            inputs = tuple(self.value(v.name, own.loc) for v in node.inputs)
            self.nodes.append(own.reading(inputs))
            self.made["", name] = own.out
        return self.made["", name]

    def _kept(self, name: str, block: str) -> Value | None:
        kept, root = self.plan.kept, self.plan.roots[name]
        node = self.plan.forward.producers.get(name)
        if node is None:
            return root
        if root.name not in kept:
            own = block_of(node.loc.module) == block and node.op not in ONCE
            if own and not self.plan.spares(name):
                return None
            kept.add(root.name)
        return next(v for v in node.outputs if v.name == name)

    def _recompute(self, name: str, loc: Loc) -> None:
        node = self.plan.forward.producers[name]
        outputs = tuple(self._named(v) for v in node.outputs)
        inputs = tuple(self.value(v.name, loc) for v in node.inputs)
        self.nodes.append(replace(node, inputs=inputs, outputs=outputs))
        names = ((block_of(loc.module), v.name) for v in node.outputs)
        self.made.update(zip(names, outputs, strict=True))

    def _named(self, value: Value) -> Value:
        count, name = 1, f"{value.name}_recomputed"
        while name in self.taken:
            count += 1
            name = f"{value.name}_recomputed_{count}"
        self.taken.add(name)
        return Value(name, value.type)
