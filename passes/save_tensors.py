"""Chooses what the forward pass keeps for relevance, and rewrites both halves around that.

What hangs on no seed can be computed in either half. A relevance that needs x > 0 alone is as well
served by a mask, a byte instead of four; a sum of two values that are kept need not be kept itself.
A least cut through such operations says which values cost the fewest bytes. The ledger, which is
asked for rarely, gets next to no memory of its own: what only it reads it recomputes from what is
kept, unless that takes many operations for a few bytes. A product over a short axis, such as the
scores of an attention, is recomputed where that spares enough bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from lrpc.ir.blocks import block_of
from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.ops import TABLE, Trait, with_trait
from passes.base import Joints
from passes.kinds import PRODUCTS
from passes.min_cut import cheapest
from passes.recompute import Recomputation
from passes.rewrite import weights_of
from passes.roots import free, roots, size
from passes.seed_invariant import CHEAP, SeedInvariant

CHAIN = 4  # most operations in a row that relevance recomputes
PRICE = 50  # multiply-adds that are worth a byte less to keep
BYTE = 1 << 20  # the cost of one, so that ties go to what is nearest to its reader
SUMMING = PRODUCTS & with_trait(Trait.CHANNELS_LAST)  # over the last axis of their first operand
OUTSIDE = "outside"  # no block: what is read there is kept as it is


@dataclass(frozen=True)
class SaveTensors:
    """Gives the two halves of a program as few bytes between them as cheap operations allow.

    Joint graphs without ledger alone decide what is kept.
    """

    name: ClassVar[str] = "save_tensors"

    def run(self, joints: Joints) -> Joints:
        forward, shared = joints.forward, SeedInvariant(joints.forward)
        known = shared.read(graph for pair in joints.pairs for graph in pair)
        plain = [pair[0] for pair in joints.pairs]
        choice = Choice(forward, shared)
        for graph, names in zip(plain, known[::2], strict=True):
            choice.read(graph, names)
        for name in joints.starts:
            choice.need(name, OUTSIDE)
        kept = choice.made()
        moved = _with_moved(forward, shared, kept, plain)
        plan = Recomputation(forward, moved, shared, roots(forward), set(kept))
        given = zip((g for pair in joints.pairs for g in pair), known, strict=True)
        graphs = plan.graphs(given)
        pairs = tuple(zip(graphs[::2], graphs[1::2], strict=True))
        return replace(joints, forward=moved, pairs=pairs)


@dataclass
class Choice:
    """What relevance without ledger reads, from where, and the least that serves it."""

    forward: Graph
    shared: SeedInvariant
    places: dict[str, set[str]] = field(default_factory=dict)  # name → the blocks that read it
    depth: dict[str, int] = field(default_factory=dict)

    def need(self, name: str, block: str, depth: int = 0) -> None:
        """Something in `block` reads a value, itself recomputed as the `depth`-th in a row."""
        if name not in self.shared.fixed:
            self.places.setdefault(name, set()).add(block)
            self.depth[name] = max(self.depth.get(name, 0), depth)

    def read(self, graph: Graph, names: dict[str, Value]) -> None:
        """Note what the seeded operations of a joint graph read; `names` has the others."""
        for node in graph.nodes:
            if node.outputs and node.out.name in names:
                continue
            # The state keeps more of a sampling under the names of what it reads.
            samples = TABLE[node.op].operand("locations") is not None
            outside = node.op == "read" or samples
            block = OUTSIDE if outside else block_of(node.loc.module)
            for value in node.inputs:
                if value.name in names:
                    self.need(names[value.name].name, block)

    def made(self) -> frozenset[str]:
        """The values to keep, each with memory of its own."""
        below, needed = roots(self.forward), set(self.places)
        anyway = {below[name].name for name in free(self.forward)}
        order = [v.name for v in self.forward.values()]
        cost: dict[str, int] = {}
        inputs: dict[str, list[str]] = {}
        work: dict[str, int] = {}
        for name in reversed(self.shared.nodes):
            if name in self.places:
                node = self.shared.nodes[name]
                cost[name] = BYTE * size(node.out) + len(order)
                inputs[name] = self._pass_on(node, 0, below)
        for place, name in reversed(list(enumerate(order))):
            if name not in self.places:
                continue
            root = below[name].name
            if root != name:
                for block in self.places[name]:
                    self.need(root, block, self.depth[name])
                continue
            cost[name] = len(order) - place + (0 if name in anyway else BYTE * size(below[name]))
            maker = self.forward.producers.get(name)
            if maker is not None and name not in anyway and self._recomputable(maker):
                inputs[name] = self._pass_on(maker, self.depth[name] + 1, below)
                work[name] = BYTE * multiply_adds(maker) // PRICE
        known = self.shared.nodes
        return cheapest(cost, inputs, {n if n in known else below[n].name for n in needed}, work)

    def _pass_on(self, node: Node, depth: int, below: dict[str, Value]) -> list[str]:
        """Note the inputs of `node` as read where it is; their memory's names."""
        found = []
        for value in node.inputs:
            self.need(value.name, block_of(node.loc.module), depth)
            if value.name not in self.shared.fixed:
                found.append(below[value.name].name if value.name in below else value.name)
        return found

    def _recomputable(self, node: Node) -> bool:
        """Whether relevance may recompute `node`: cheap, near where it is read, and not at the
        end of a long row of such."""
        if node.op not in CHEAP | SUMMING or self.depth[node.out.name] >= CHAIN:
            return False
        return self.places[node.out.name] == {block_of(node.loc.module)}


def multiply_adds(node: Node) -> int:
    """Of a product of two operands, for one image; none of any other operation."""
    if node.op not in SUMMING:
        return 0
    sizes = {"B": 1, "K": 1}
    return math.prod(node.out.type.sized(sizes)) * node.inputs[0].type.sized(sizes)[-1]


def _with_moved(
    forward: Graph, shared: SeedInvariant, kept: frozenset[str], joints: Sequence[Graph]
) -> Graph:
    """`forward` with the operations of the relevance half that it does now, each behind the node
    that it is for, or else behind what it reads."""
    wanted: set[str] = set()
    for name in reversed(shared.nodes):
        if name in kept or name in wanted:
            wanted |= {name, *(v.name for v in shared.nodes[name].inputs)}
    at = {v.name: i for i, node in enumerate(forward.nodes) for v in node.outputs}
    first = {node.loc: i for i, node in reversed(list(enumerate(forward.nodes)))}
    behind: dict[int, list[Node]] = {}
    for name, node in shared.nodes.items():
        if name in wanted:
            place = max((at.get(v.name, -1) for v in node.inputs), default=-1)
            at[name] = max(place, first.get(node.loc, -1))
            behind.setdefault(at[name], []).append(node)
    nodes = list(behind.get(-1, []))
    for i, node in enumerate(forward.nodes):
        nodes += [node, *behind.get(i, [])]
    weights = {name: kind for graph in joints for name, kind in graph.weights}
    used = {name for n in nodes for name in weights_of(n)} - forward.weight_types.keys()
    more = tuple((name, weights[name]) for name in sorted(used))
    return replace(forward, nodes=tuple(nodes), weights=(*forward.weights, *more))
