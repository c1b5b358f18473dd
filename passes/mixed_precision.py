"""mixed_precision: the large maps compute in a narrow type, what is around them in float32."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from lrpc.errors import PrecisionError
from lrpc.ir.builder import weight_types
from lrpc.ir.graph import Attr, Graph, Module, Node, Value
from lrpc.ir.ops import TABLE, Family, Trait, infer, of_family, with_trait
from lrpc.ir.types import DTYPES, TensorType, type_of
from passes.rewrite import prune_weights

# Of a map with these, the operands that are narrow: the others (locations, sampling weights) stay.
MAPS = {name: row.contracted for name, row in TABLE.items() if row.contracted}
NARROW = ("bf16", "f16")
FORWARD_WIDE = of_family(Family.CONVOLUTION)
EXACT = with_trait(Trait.EXACT)


@dataclass(frozen=True)
class MixedPrecision:
    """Large maps in `narrow`: operands and weights are cast to it, and hardware sums in float32.

    All else stays in float32: norms, softmax, ratios, locations, residual sums, the ledger. So do
    maps with less than `least` channels on either side, those whose role is in `wide`, those that
    give nothing but coordinates, and convolutions of the forward pass: through many layers of them
    the signs of activations, and relevance with them, turn on small differences.

    Values keep their names and types: a map's result is `NAME_NARROW`, cast back to NAME. The pass
    runs on a forward graph and on joint graphs made from it. There `forward` names the values of
    the forward graph; the relevance half reads those that have an exact narrow copy from it.
    """

    narrow: str = "bf16"
    least: int = 32
    wide: frozenset[str] = frozenset({"attention_scores", "coordinate", "constant"})
    forward: frozenset[str] = frozenset()
    name: ClassVar[str] = "mixed_precision"

    def __post_init__(self) -> None:
        if self.narrow not in NARROW:
            raise PrecisionError(f"narrow={self.narrow} is none of {', '.join(NARROW)}")

    def run(self, module: Module) -> Module:
        graph = module.graph
        work = _Work(self, graph, dict(module.tensors), dict(graph.weights))
        for node in graph.nodes:
            work.take(node)
        new = replace(graph, nodes=tuple(work.nodes), weights=tuple(work.weights.items()))
        return prune_weights(Module(new, work.tensors))


@dataclass
class _Work:
    """A graph while it is rewritten. `copies` has the narrow copy of a value, by its name; those in
    `exact` hold the very same numbers."""

    options: MixedPrecision
    graph: Graph
    tensors: dict[str, Tensor]
    weights: dict[str, TensorType]
    nodes: list[Node] = field(default_factory=list)
    copies: dict[str, Value] = field(default_factory=dict)
    exact: set[str] = field(default_factory=set)
    made: int = 0

    def take(self, node: Node) -> None:
        """Append `node`, or what stands for it."""
        if self._is_map(node):
            self._map(node)
        else:
            self.nodes.append(self._widened(node))

    def _is_map(self, node: Node) -> bool:
        which = MAPS.get(node.op)
        if which is None or any(
            v.type.dtype != "f32" for v in (node.out, *map(node.inputs.__getitem__, which))
        ):
            return False
        return self._is_large(node) and not self._stays_wide(node)

    def _is_large(self, node: Node) -> bool:
        weight = node.attr("weight")
        if weight is None:
            return True
        return all(int(str(n)) >= self.options.least for n in self.weights[str(weight)].shape[:2])

    def _stays_wide(self, node: Node) -> bool:
        if node.op in FORWARD_WIDE or node.role in self.options.wide:
            return True
        users = self.graph.users.get(node.out.name, ())
        return bool(users) and all(user.role == "coordinate" for user in users)

    def _map(self, node: Node) -> None:
        which = MAPS[node.op]
        inputs = tuple(
            self._narrowed(v, node) if i in which else v for i, v in enumerate(node.inputs)
        )
        kinds = TABLE[node.op]
        attrs = tuple(
            (key, self._weight(str(value)) if kinds.kind(key) == "weight" else value)
            for key, value in node.attrs
        )
        out = self._append(node.op, inputs, attrs, f"{node.out.name}_{self.options.narrow}", node)
        self.copies[node.out.name] = out
        self.exact.add(node.out.name)
        self._cast(out, "f32", node.out.name, node)

    def _weight(self, name: str) -> str:
        if self.weights[name].dtype != "f32":
            return name
        chosen = f"{name}@{self.options.narrow}"
        if chosen not in self.weights:
            tensor = self.tensors[name].to(DTYPES[self.options.narrow])
            self.tensors[chosen], self.weights[chosen] = tensor, type_of(tensor)
        return chosen

    def _narrowed(self, value: Value, near: Node) -> Value:
        """The narrow copy of `value`, made for `near` where there is none yet."""
        found = self._known(value, near)
        if found is not None:
            return found
        name = f"{value.name}_{self.options.narrow}"
        self.copies[value.name] = self._cast(value, self.options.narrow, name, near)
        return self.copies[value.name]

    def _known(self, value: Value, near: Node) -> Value | None:
        """A copy that is there, or that follows exactly from one that is."""
        if value.name in self.copies:
            return self.copies[value.name]
        maker = self.graph.producers.get(value.name)
        if maker is None or not self._is_exact(maker):
            return None
        source = self._known(maker.inputs[0], near)
        if source is None or maker.inputs[0].name not in self.exact:
            return None
        name = f"{value.name}_{self.options.narrow}"
        made = self._append(maker.op, (source, *maker.inputs[1:]), maker.attrs, name, near)
        self.copies[value.name] = made
        self.exact.add(value.name)
        return made

    def _is_exact(self, node: Node) -> bool:
        """Whether the operation on narrow numbers gives those that it gives on wide ones."""
        if node.op == "masked_fill":
            filled = torch.tensor(node.number("value"), dtype=torch.float64)
            return bool(filled.to(DTYPES[self.options.narrow]) == filled)
        return node.op in EXACT

    def _widened(self, node: Node) -> Node:
        """A node of the relevance half, reading forward values from their exact copies."""
        known = self.options.forward
        if not known or any(v.name in known for v in node.outputs):
            return node
        inputs = tuple(
            self._cast(self.copies[v.name], "f32", self._fresh(v), node)
            if v.name in known and v.name in self.exact
            else v
            for v in node.inputs
        )
        return node if inputs == node.inputs else replace(node, inputs=inputs)

    def _fresh(self, value: Value) -> str:
        self.made += 1
        return f"{value.name}_wide_{self.made}"

    def _cast(self, value: Value, dtype: str, name: str, near: Node) -> Value:
        return self._append("cast", (value,), (("dtype", dtype),), name, near)

    def _append(
        self,
        op: str,
        inputs: tuple[Value, ...],
        attrs: tuple[tuple[str, Attr], ...],
        name: str,
        near: Node,
    ) -> Value:
        row = TABLE[op]
        types = infer(
            row, tuple(v.type for v in inputs), attrs, weight_types(row, attrs, self.weights)
        )
        out = Value(name, types[0])
        self.nodes.append(Node(op, inputs, (out,), attrs, near.role, near.rule, near.loc))
        return out
