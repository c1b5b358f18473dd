"""From lowered nodes to a graph: drops what nothing needs, and gives every value its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lrpc.frontend.lowering import Lowered
from lrpc.ir.builder import Builder
from lrpc.ir.graph import Attr, Graph, Module, Node, Value
from lrpc.ir.ops import TABLE
from lrpc.ir.types import type_of
from lrpc.ir.verifier import verify


def finish(lowered: Lowered, outputs: tuple[str, ...], places: tuple[str, ...]) -> Module:
    """The graph "forward"; `lowered.values` belong to the outputs, then to the places."""
    nodes = _needed(lowered)
    tensors, renamed = _weights([node for node, _ in nodes], lowered.tensors)
    types = {name: type_of(tensor) for name, tensor in tensors.items()}
    builder = Builder(types, taken=[v.name for v in lowered.inputs])
    values: dict[Value, Value] = {v: v for v in lowered.inputs}
    for node, hint in nodes:
        attrs: dict[str, Any] = {
            k: renamed.get(str(v), v) if _is_weight(node, k) else v for k, v in node.attrs
        }
        inputs = [values[v] for v in node.inputs]
        new = builder.op(node.op, *inputs, hint=hint, loc=node.loc, **attrs)
        values.update(zip(node.outputs, new, strict=True))
    wanted = [values[v] for v in lowered.values]
    graph = Graph(
        "forward",
        lowered.inputs,
        tuple(builder.nodes),
        tuple(zip(outputs, wanted, strict=False)),
        tuple(types.items()),
        tuple(zip(places, wanted[len(outputs) :], strict=True)),
    )
    return Module(verify(graph, "import"), tensors)


def _needed(lowered: Lowered) -> list[tuple[Node, str]]:
    live = set(lowered.values)
    kept = []
    for node, hint in reversed(list(zip(lowered.nodes, lowered.hints, strict=True))):
        if live.intersection(node.outputs):
            live.update(node.inputs)
            kept.append((node, hint))
    return kept[::-1]


def _is_weight(node: Node, attr: str) -> bool:
    return TABLE[node.op].kind(attr) == "weight"


def _weights(
    nodes: list[Node], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Attr]]:
    """The weights that nodes use, in program order, with constants numbered anew."""
    used = dict.fromkeys(str(v) for n in nodes for k, v in n.attrs if _is_weight(n, k))
    constants = [name for name in used if name.startswith("constant.")]
    renamed: dict[str, Attr] = {name: f"constant.{i}" for i, name in enumerate(constants)}
    return {str(renamed.get(name, name)): tensors[name] for name in used}, renamed
