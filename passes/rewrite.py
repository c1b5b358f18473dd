"""Rebuilds a graph node by node: what every pass that replaces nodes shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch

from lrpc.errors import IRError
from lrpc.ir.builder import Builder
from lrpc.ir.graph import Attr, Module, Node, Value
from lrpc.ir.ops import TABLE
from lrpc.ir.types import TensorType, type_of


class Rewriter(Builder):
    """A builder that walks an old graph: values of replaced nodes map to their replacements.

    Names of old values stay reserved until their node is reached and replaced: then a replacement
    may take them over.
    """

    def __init__(self, module: Module) -> None:
        graph = module.graph
        super().__init__(graph.weight_types, taken=(v.name for v in graph.values()))
        self.tensors = dict(module.tensors)
        self.module = module
        self._mapped: dict[str, Value] = {}

    def weight(self, name: str, tensor: torch.Tensor) -> str:
        """Declare `tensor` under `name`, or `name2`, … where that is taken; the name used."""
        chosen, count = name, 1
        while (known := self.tensors.get(chosen)) is not None and not _equal(known, tensor):
            count += 1
            chosen = f"{name}{count}"
        self.tensors.setdefault(chosen, tensor)
        self.weights[chosen] = type_of(tensor)
        return chosen

    def now(self, value: Value) -> Value:
        """What stands for an old value in the new graph."""
        return self._mapped.get(value.name, value)

    def like(
        self, node: Node, *inputs: Value, hint: str, attrs: Mapping[str, Attr]
    ) -> tuple[Value, ...]:
        """Append an operation like `node`, with its place, role and rule, on other operands."""
        return self.op(
            node.op, *inputs, hint=hint, role=node.role, rule=node.rule, loc=node.loc,
            **attrs,
        )  # fmt: skip

    def walk(self, emit: Emit) -> Module:
        """The module with each node for which `emit` returns values replaced by them."""
        for node in self.module.graph.nodes:
            current = self._moved(node)
            for value in node.outputs:
                self._taken.discard(value.name)
            outputs = emit(current, self)
            if outputs is None:
                self.keep(current)
            else:
                self._map(node, outputs)
        return self._finished()

    def _moved(self, node: Node) -> Node:
        mapped = self._mapped
        if not any(v.name in mapped for v in node.inputs):
            return node
        return node.reading(tuple(mapped.get(v.name, v) for v in node.inputs))

    def _map(self, node: Node, outputs: tuple[Value, ...]) -> None:
        for old, new in zip(node.outputs, outputs, strict=True):
            if old.type != new.type:
                raise IRError(
                    f"rewriting %{old.name} = {node.op} changed its type from {old.type} to"
                    f" {new.type} (from {node.loc})"
                )
            self._mapped[old.name] = new

    def _finished(self) -> Module:
        graph = self.module.graph
        new = replace(
            graph,
            nodes=tuple(self.nodes),
            outputs=tuple((name, self.now(v)) for name, v in graph.outputs),
            places=tuple((name, self.now(v)) for name, v in graph.places),
            weights=tuple(self.weights.items()),
        )
        return Module(new, self.tensors)


# Called with a node whose inputs are already the new ones; returns what stands for its outputs, or
# None to keep it.
Emit = Callable[[Node, Rewriter], tuple[Value, ...] | None]


def rewrite(module: Module, emit: Emit) -> Module:
    """`module` with every node for which `emit` returns values replaced by them."""
    return Rewriter(module).walk(emit)


def map_nodes(module: Module, change: Callable[[Node], Node]) -> Module:
    """`module` with `change` applied to every node; for passes that only mark or annotate."""
    return module.with_graph(module.graph.with_nodes(map(change, module.graph.nodes)))


def with_roles(module: Module, roles: Mapping[str, str]) -> Module:
    """`module` with new roles, given by the name of the first value of a node."""

    def change(node: Node) -> Node:
        role = roles.get(node.outputs[0].name) if node.outputs else None
        return node if role is None else replace(node, role=role)

    return map_nodes(module, change)


def weights_of(node: Node) -> Iterable[str]:
    """The names of the weights that `node` refers to."""
    kinds = TABLE[node.op]
    return (str(value) for key, value in node.attrs if kinds.kind(key) == "weight")


def prune_weights(module: Module) -> Module:
    """`module` without the weights that no node refers to."""
    used = {name for node in module.graph.nodes for name in weights_of(node)}
    weights: tuple[tuple[str, TensorType], ...] = tuple(
        (name, kind) for name, kind in module.graph.weights if name in used
    )
    tensors = {name: tensor for name, tensor in module.tensors.items() if name in used}
    return Module(replace(module.graph, weights=weights), tensors)


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
