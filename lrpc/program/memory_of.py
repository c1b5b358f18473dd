"""The memory model of a program directory, from its graphs, weights and manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lrpc.backend.memory.choose import Choice
from lrpc.backend.memory.run import Model
from lrpc.backend.schedule.ir import Block
from lrpc.backend.schedule.segments import Every
from lrpc.errors import ProgramError
from lrpc.ir.graph import Module
from lrpc.ir.parser import read_graph
from lrpc.models.weights import load_weights
from lrpc.program.build import Variant, lowered
from lrpc.program.loading import composites_of, under_composite
from lrpc.program.manifest import check_fits, own_facts, stated_targets
from lrpc.program.manifest_reader import manifest_of
from lrpc.program.memory_model import memory_model
from lrpc.program.mixed import running
from lrpc.program.settings import Settings
from lrpc.rules.plugins import load_allowed
from lrpc.support.untrusted import short


def open_model(directory: Path, plugins: Sequence[str] = ()) -> Model:
    """The program in `directory`, with the targets of every composite one after the other.

    Its program.py is not run; its manifest's plugins are imported where `plugins` names them.
    """
    files = [directory / name for name in ("manifest.json", "graph.lrp", "weights.safetensors")]
    for path in files:
        if not path.is_file():
            raise ProgramError(f"{path} is missing; give a program directory of `lrpc compile`")
    manifest = manifest_of(directory)
    load_allowed(manifest, plugins)
    tensors = load_weights(files[2])
    settings = Settings.from_json(manifest["settings"], own_facts(manifest))
    variants = []
    for name in composites_of(manifest):
        own = under_composite(manifest, name)
        path = directory / str(own.get("graph", "graph.lrp"))
        graph = read_graph(path)
        check_fits(files[0], graph, {**own, "settings": manifest["settings"]})
        variants.append(Variant(name, float(own["epsilon"]), Module(graph, tensors)))
    made = lowered(variants, stated_targets(manifest), settings)
    model = memory_model(running(made, settings.precision), settings.chunk)
    model = Choice.from_json(manifest["memory"]).of(model)
    model.scheduler.whole = True  # ends that targets share may hold more
    body = model.scheduler.blocks(Every()).forward.body if model.recomputed else ()
    blocks = {s.key for s in body if isinstance(s, Block)}
    for key in model.recomputed:
        if key not in blocks:
            raise ProgramError(
                f"{files[0]}: memory: again: {short(key)} is no block of the program;"
                " compile the program again"
            )
    return model
