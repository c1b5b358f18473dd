"""The annotated graphs of a program directory, one of which may have been edited."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lrpc.errors import ProgramError
from lrpc.ir.graph import Graph, Module
from lrpc.ir.parser import read_graph
from lrpc.ir.verifier import verify_tensors
from lrpc.program.build import Variant
from lrpc.program.loading import composite_of_graph, composites_of, under_composite
from lrpc.program.manifest import check_fits
from lrpc.rules.validation import check_rules


def edited_variants(
    path: Path, manifest: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> list[Variant]:
    """Every composite of the program that `path` lies in: the one whose graph that is, the others
    as their own files say. Raises LrpcError where they differ in more than rules."""
    chosen = composite_of_graph(manifest, path.name)
    found: list[Variant] = []
    for name in composites_of(manifest):
        own = under_composite(manifest, name)
        file = path if name == chosen else path.with_name(own["graph"])
        graph = read_graph(file)
        check_fits(path.with_name("manifest.json"), graph, own)
        module = Module(check_rules(graph), weights)
        verify_tensors(module, str(path.with_name("weights.safetensors")))
        if found and (differing := _difference(found[0].module.graph, graph)):
            raise ProgramError(
                f"{file}: {differing} differs in more than its rule from the graph of"
                f" {found[0].composite}; edit the graphs of all composites alike"
            )
        found.append(Variant(name, float(own["epsilon"]), module))
    return found


def _difference(first: Graph, other: Graph) -> str:
    """What two graphs do not compute alike, the first of it; nothing where all is."""
    if (first.inputs, first.outputs, first.places) != (other.inputs, other.outputs, other.places):
        return "what goes in, comes out or is read"
    for a, b in zip(first.nodes, other.nodes, strict=False):
        if (a.op, a.inputs, a.outputs, a.attrs) != (b.op, b.inputs, b.outputs, b.attrs):
            return f"%{b.outputs[0].name if b.outputs else b.op}"
    return "" if len(first.nodes) == len(other.nodes) else "the number of operations"
