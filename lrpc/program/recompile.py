"""Programs from the annotated graphs of a program directory, one of which may have been edited."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lrpc.errors import ProgramError
from lrpc.ir.graph import Graph, Module
from lrpc.ir.parser import read_graph
from lrpc.ir.verifier import verify_tensors
from lrpc.models.weights import file_sha256, load_weights
from lrpc.program.build import Variant, build
from lrpc.program.directory import dumping, write_files
from lrpc.program.loading import composite_of_graph, composites_of, under_composite
from lrpc.program.manifest import Report, check_fits, own_facts, report_of, stated_targets
from lrpc.program.manifest_reader import manifest_of
from lrpc.program.model_check import CheckedBefore
from lrpc.program.settings import Settings
from lrpc.rules.plugins import load_allowed
from lrpc.rules.validation import check_rules
from lrpc.support.garbage import garbage_waits


@garbage_waits()
def compile_graph(
    path: Path, output: Path, dump: bool = False, *, plugins: Sequence[str] = ()
) -> Report:
    """Compile an annotated graph (a program's graph.lrp, edited or not) with the files beside it.

    Of a program with several composites, all are compiled, the others from their own graphs.
    Everything read is data; the manifest's plugins are imported where `plugins` names them.
    """
    manifest_path, weights_path = path.parent / "manifest.json", path.parent / "weights.safetensors"
    for needed in (path, manifest_path, weights_path):
        if not needed.is_file():
            raise ProgramError(
                f"{needed} is missing; an .lrp file compiles inside its program directory"
            )
    manifest = manifest_of(path.parent)
    load_allowed(manifest, plugins)
    variants = _edited_variants(path, manifest, load_weights(weights_path))
    settings = Settings.from_json(manifest["settings"], own_facts(manifest))
    watch, dumped = dumping() if dump else (None, {})
    same = file_sha256(weights_path) == manifest["sha256"][weights_path.name]
    held = CheckedBefore(manifest["check"], manifest["sha256"]["program.py"]) if same else None
    files = build(variants, stated_targets(manifest), settings, watch, held)
    write_files(output, {**files, **dumped})
    nodes = len(variants[0].module.graph.nodes)
    return report_of(output, nodes, json.loads(files["manifest.json"]), settings.notes)


def _edited_variants(
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
