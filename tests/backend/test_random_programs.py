"""Programs generated from random graphs under random rules, against the reference interpreter."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lrpc.ir.graph import Module
from lrpc.ir.interpreter import interpret
from lrpc.ir.parser import parse_graph
from lrpc.models.weights import load_weights
from lrpc.program.build import Variant, build
from lrpc.program.directory import write_files
from lrpc.program.loading import load_program
from lrpc.program.settings import Settings
from lrpc.program.targets import output_targets
from tests.support.joint_runs import JointRun, lowered, run_joint
from tests.support.random_checks import annotated, examples
from tests.support.random_graphs import Drawn, drawn

CHUNK, SEEDS = 2, 3
NEAR = 1e-9


@examples(25)
@given(st.data())
def test_a_program_is_what_the_interpreter_makes_of_its_graph(data: Any) -> None:
    drawing = data.draw(drawn())
    module = annotated(data, drawing.module)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "program"
        write_files(directory, files_of(module))
        check(data, directory, drawing)


def files_of(module: Module) -> dict[str, bytes]:
    structure = {"dict": {name: name for name, _ in module.graph.outputs}}
    settings = Settings("drawn", structure, chunk=CHUNK)
    return build([Variant("drawn", 0.0, module)], output_targets(module.graph), settings)


def check(data: Any, directory: Path, drawing: Drawn) -> None:
    program: Any = load_program(directory, "cpu")
    graph = parse_graph((directory / "graph.lrp").read_text())
    module = Module(graph, load_weights(directory / "weights.safetensors"))
    inputs = drawing.inputs(data.draw(st.integers(1, 3), "B"))
    state = program.forward(**inputs)
    values = interpret(graph, module.tensors, inputs, keep=True)
    for name, value in graph.outputs:
        expected = values[value.name]  # 0 up to rounding, maybe
        apart = float((state.outputs[name] - expected).abs().max())
        assert apart < NEAR * max(1.0, float(expected.abs().max())), name
    target = data.draw(st.sampled_from(program.manifest["targets"]), "target")
    output = state.outputs[target["name"]]
    start = drawing.starts((SEEDS, *output.shape)) * output
    # Both halves start from the same activations: a sign at the edge of rounding is no difference.
    kept = {
        name: state.saved[scope][local]
        for name, (scope, local) in program.manifest["saved"].items()
    }
    g = torch.where(output == 0, 0.0, start / torch.where(output == 0, 1.0, output))
    reference = run_joint(
        lowered(module, target["mark"], ledger=True), inputs, g, {**values, **kept}
    )
    plain = program.relevance(state, target["name"], seeds=start)
    booked = program.relevance(state, target["name"], seeds=start, ledger=True)
    for result in (plain, booked):
        same_places(places(program, result), reference)
    same_ledger(booked.ledger, reference)


def places(program: Any, result: Any) -> dict[str, Tensor]:
    """What a program hands out, by place."""
    named = program.interface.read_inputs
    own = {place: result.inputs[name] for place, name in named.items() if name in result.inputs}
    return {**own, **result.layers}


def same_places(found: dict[str, Tensor], reference: JointRun) -> None:
    handed = {k for k in reference.places if not k.startswith("output.")}
    assert found.keys() == handed
    for place, relevance in found.items():
        apart = (relevance - reference.places[place]).abs().max()
        assert float(apart) <= NEAR * reference.largest, place


def same_ledger(ledger: Any, reference: JointRun) -> None:
    largest = reference.largest
    assert float((ledger.start - reference.total("start")).abs().max()) <= NEAR * largest
    assert float((ledger.end - reference.total("end")).abs().max()) <= NEAR * largest
    rest = ledger.start - ledger.end - sum(ledger.sinks.values())
    assert float(rest.abs().max()) <= 1e-10 * largest
    for kind, amount in ledger.sinks.items():
        assert float((amount - reference.total(kind)).abs().max()) <= NEAR * largest, kind
    for node, rest in ledger.node_closure().items():
        assert float((rest * ledger.start.abs()).nan_to_num().max()) <= 1e-10 * largest, node


@examples(5)
@given(st.data())
def test_the_same_graph_gives_the_same_bytes(data: Any) -> None:
    module = annotated(data, data.draw(drawn()).module)
    files = files_of(module)
    assert files_of(module) == files
    again = Module(parse_graph(files["graph.lrp"].decode()), module.tensors)
    own = files_of(again)
    assert own["program.py"] == files["program.py"]
    assert (
        json.loads(own["manifest.json"])["sha256"] == json.loads(files["manifest.json"])["sha256"]
    )
