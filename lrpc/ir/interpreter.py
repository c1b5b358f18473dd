"""The reference interpreter: runs a graph by the reference semantics of the op table, slowly."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lrpc.ir.graph import Graph, Node
from lrpc.ir.ops import TABLE, resolve


def sizes_of(graph: Graph, inputs: Mapping[str, Tensor]) -> dict[str, int]:
    """B, K and the sizes that vary as the given inputs have them."""
    sizes: dict[str, int] = {}
    own = {size.name for size in graph.sizes}
    for value in graph.inputs:
        if value.name not in inputs:
            continue
        for dim, extent in zip(value.type.shape, inputs[value.name].shape, strict=True):
            if str(dim) in ("B", "K", *own):
                sizes[str(dim)] = extent
    return sizes


@torch.no_grad()
def interpret(
    graph: Graph, tensors: Mapping[str, Tensor], inputs: Mapping[str, Tensor], keep: bool = False
) -> dict[str, Tensor]:
    """The named outputs of `graph`; with `keep` every value, by value name."""
    sizes = sizes_of(graph, inputs)
    values = {v.name: inputs[v.name] for v in graph.inputs if v.name in inputs}
    last = {} if keep else _last_reads(graph)
    for node in graph.nodes:
        results = run_node(node, tensors, tuple(values[v.name] for v in node.inputs), sizes)
        values.update((v.name, r) for v, r in zip(node.outputs, results, strict=True))
        for name in last.get(id(node), ()):
            values.pop(name, None)
    return values if keep else {name: values[v.name] for name, v in graph.outputs}


def _last_reads(graph: Graph) -> dict[int, list[str]]:
    """By the id of each node, the values that nothing reads after it."""
    found: dict[int, list[str]] = {}
    seen = {value.name for _, value in graph.outputs}
    for node in reversed(graph.nodes):
        names = {v.name for v in (*node.inputs, *node.outputs)} - seen
        found[id(node)] = sorted(names)
        seen |= names
    return found


def run_node(
    node: Node, tensors: Mapping[str, Tensor], inputs: tuple[Tensor, ...], sizes: Mapping[str, int]
) -> tuple[Tensor, ...]:
    """The outputs of one node."""
    row = TABLE[node.op]
    keywords = {
        k: tensors[str(v)] if row.kind(k) == "weight" else resolve(v, sizes) for k, v in node.attrs
    }
    result = row.reference(*inputs, **keywords)
    return result if isinstance(result, tuple) else (result,)
