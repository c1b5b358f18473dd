"""Relevance of a joint graph by reference semantics: what programs are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lrpc.ir.graph import Graph, Module, Node
from lrpc.ir.interpreter import run_node, sizes_of
from lrpc.ir.types import DTYPES
from lrpc.program.reference import doubled, graph_in_double


def reference_relevance(
    joint: Graph,
    tensors: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    seed: Tensor,
    masks: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Relevance at every read of a joint graph by reference semantics, from forward `values`;
    `masks` are those of its conditions, by name: others let everything pass."""
    known = {**values, **inputs, joint.inputs[-1].name: seed}
    sizes = sizes_of(joint, {**inputs, joint.inputs[-1].name: seed})
    known |= masks_of(joint, sizes, masks or {})
    found: dict[str, Tensor] = {}
    for node in _missing(joint, known):
        if node.op == "read":
            found[str(node.attr("name"))] = read_out([known[v.name] for v in node.inputs])
            continue
        with torch.no_grad():
            results = run_node(node, tensors, tuple(known[v.name] for v in node.inputs), sizes)
        for value, result in zip(node.outputs, results, strict=True):
            known.setdefault(value.name, result)
    return found


def masks_of(
    joint: Graph, sizes: Mapping[str, int], given: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The masks of a joint graph, by the names of its inputs: those given, and ones."""
    ones = {
        name: torch.ones(value.type.sized(sizes), dtype=DTYPES[value.type.dtype])
        for name, value in joint.places
    }
    return {value.name: given.get(name, ones[name]) for name, value in joint.places}


def exact_relevance(
    joint: Module,
    inputs: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    seed: Tensor,
    masks: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The same in float64, from the same values."""
    tensors, given, known = (
        {k: doubled(t) for k, t in part.items()} for part in (joint.tensors, inputs, values)
    )
    wide = {name: doubled(mask) for name, mask in (masks or {}).items()}
    graph = graph_in_double(joint.graph)
    return reference_relevance(graph, tensors, given, known, doubled(seed), wide)


def rounded(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """float32 values in float64, each moved by up to half a unit in its last place."""
    generator, found = torch.Generator().manual_seed(0), dict[str, Tensor]()
    for name, value in values.items():
        by = torch.rand(value.shape, generator=generator, dtype=torch.float64) * 2 - 1
        own = value.dtype == torch.float32
        found[name] = value.double() * (1 + by * 2**-24) if own else value
    return found


def read_out(parts: Sequence[Tensor]) -> Tensor:
    """What a `read` of these inputs hands out: G ⊙ value, R, or G ⊙ value + R."""
    if len(parts) == 1:
        return parts[0]
    product: Tensor = parts[0] * parts[1]
    return product.add(parts[2]) if len(parts) > 2 else product


def _missing(graph: Graph, known: Mapping[str, Tensor]) -> list[Node]:
    """The nodes that the reads need beyond the known values, in program order."""
    needed: set[str] = set()
    found = []
    for node in reversed(graph.nodes):
        wanted = node.op == "read" or any(v.name in needed - known.keys() for v in node.outputs)
        if wanted:
            found.append(node)
            needed |= {v.name for v in node.inputs}
    return found[::-1]
