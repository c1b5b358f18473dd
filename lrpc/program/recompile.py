"""Programs from edited graphs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lrpc.errors import ProgramError
from lrpc.models.weights import file_sha256, load_weights
from lrpc.program.build import build
from lrpc.program.directory import dumping, write_files
from lrpc.program.edited import edited_variants
from lrpc.program.manifest import Report, own_facts, report_of, stated_targets
from lrpc.program.manifest_reader import manifest_of
from lrpc.program.model_check import CheckedBefore
from lrpc.program.settings import Settings
from lrpc.rules.plugins import load_allowed
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
    variants = edited_variants(path, manifest, load_weights(weights_path))
    settings = Settings.from_json(manifest["settings"], own_facts(manifest))
    watch, dumped = dumping() if dump else (None, {})
    same = file_sha256(weights_path) == manifest["sha256"][weights_path.name]
    held = CheckedBefore(manifest["check"], manifest["sha256"]["program.py"]) if same else None
    files = build(variants, stated_targets(manifest), settings, watch, held)
    write_files(output, {**files, **dumped})
    nodes = len(variants[0].module.graph.nodes)
    return report_of(output, nodes, json.loads(files["manifest.json"]), settings.notes)
