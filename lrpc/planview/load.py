"""The memory model of a program directory, from its graphs, weights and manifest."""

from __future__ import annotations

import json
from pathlib import Path

from lrpc.build import Settings, Variant, lowered
from lrpc.errors import ProgramError
from lrpc.ir.graph import Module
from lrpc.ir.parser import parse_graph
from lrpc.joining import memory_model
from lrpc.manifest import own_facts, stated_targets
from lrpc.memory.choose import Choice
from lrpc.memory.run import Model
from lrpc.mixed import running
from lrpc.rules.plugins import load_plugins, plugins_of
from lrpc.run.program_dir import composites_of, under_composite
from lrpc.weights import load_weights


def open_model(directory: Path) -> Model:
    """The program in `directory`, with the targets of every composite one after the other."""
    files = [directory / name for name in ("manifest.json", "graph.lrp", "weights.safetensors")]
    for path in files:
        if not path.is_file():
            raise ProgramError(f"{path} is missing; give a program directory of `lrpc compile`")
    manifest = json.loads(files[0].read_text())
    load_plugins(plugins_of(manifest))
    tensors = load_weights(files[2])
    settings = Settings.from_json(manifest["settings"], own_facts(manifest))
    variants = []
    for name in composites_of(manifest):
        own = under_composite(manifest, name)
        path = directory / str(own.get("graph", "graph.lrp"))
        graph = parse_graph(path.read_text(), str(path))
        variants.append(Variant(name, float(own["epsilon"]), Module(graph, tensors)))
    made = lowered(variants, stated_targets(manifest), settings)
    model = memory_model(running(made, settings.precision), settings.chunk)
    return Choice.from_json(manifest["memory"]).of(model)
