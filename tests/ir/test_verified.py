"""The verifier sees every graph that a program is made from, also what is not Module → Module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import lrpc
from lrpc.backend.render.program import program_text as real_text
from lrpc.backend.schedule.ir import Call, Compute, Function, Recompute, Schedule
from lrpc.backend.schedule.verify import verify as verify_schedule
from lrpc.errors import IRError
from lrpc.ir.builder import Builder
from lrpc.ir.graph import Graph, Value
from lrpc.ir.printer import print_graph as real_print
from lrpc.ir.types import B, TensorType
from lrpc.ir.verifier import verify
from lrpc.program.build import build as real_build
from lrpc.program.memory_of import open_model
from passes import FuseRatios, Joints, SaveTensors
from tests.support.checkpoints import compiled
from tests.support.networks import small

ROOT = Path(__file__).parents[2]
SEVERAL = ["attnlrp", "gamma"]


@pytest.mark.parametrize(
    "options",
    [{"composite": SEVERAL}, {"precision": "bf16"}, {"checkpoint": "auto", "budget": "98%"}],
    ids=["several", "bf16", "budget"],
)
def test_every_graph_of_a_program_was_verified(options: dict[str, Any]) -> None:
    """What is printed, planned and generated from is what the verifier returned."""
    seen: dict[int, Graph] = {}
    used: list[Graph] = []

    def noted(graph: Graph, after: str = "") -> Graph:
        seen[id(graph)] = graph
        return verify(graph, after)

    def printed(graph: Graph) -> str:
        used.append(graph)
        return real_print(graph)

    def generated(schedule: Any, forward: Graph, targets: Any, about: Any) -> Any:
        used.extend([forward, *(g for t in targets for g in (t.plain, t.with_ledger))])
        return real_text(schedule, forward, targets, about)

    def built(variants: Any, *rest: Any, **named: Any) -> Any:
        used.extend(v.module.graph for v in variants)
        return real_build(variants, *rest, **named)

    model, x = small("small ViT")
    with (
        patch("passes.base.verify", noted),
        patch("lrpc.program.build.print_graph", printed),
        patch("lrpc.program.build.program_text", generated),
        patch("lrpc.compiler.build", built),
    ):
        lrpc.compile(model, (x,), seeds=2, **options)
    assert len(used) >= 5  # annotated, printed, and both halves
    assert all(seen.get(id(graph)) is graph for graph in used)


def test_passes_run_in_pipelines_alone() -> None:
    """Outside of `passes`, nobody calls a pass without verifying what it gives."""
    names = set(_passes())
    assert {"SaveTensors", "FuseRatios", "MoveBoundaries", "AddPlaces", "MixedPrecision"} <= names
    for path in [*(ROOT / "lrpc").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "run":
                made = node.value.func if isinstance(node.value, ast.Call) else node.value
                assert ast.unparse(made).split(".")[-1] not in names, f"{path}:{node.lineno}"


def _passes() -> Iterator[str]:
    for path in (ROOT / "passes").glob("*.py"):
        for item in ast.parse(path.read_text()).body:
            if isinstance(item, ast.ClassDef) and any(
                isinstance(part, ast.AnnAssign) and ast.unparse(part.target) == "name"
                for part in item.body
            ):
                yield item.name


@pytest.mark.parametrize("step", ["save_tensors", "fuse_ratios"])
def test_a_wrong_joint_graph_is_named_with_its_pass(step: str) -> None:
    kind = {"save_tensors": SaveTensors, "fuse_ratios": FuseRatios}[step]

    def broken(self: Any, joints: Joints) -> Joints:
        plain, booked = joints.pairs[0]
        return Joints(joints.forward, ((plain, booked.with_nodes(booked.nodes[1:])),), ())

    model, x = small("CNN")
    with patch.object(kind, "run", broken), pytest.raises(IRError, match=f"after {step} "):
        lrpc.compile(model, (x,))


def test_what_is_computed_again_must_have_its_operands() -> None:
    """A relevance pass that reads what the state does not keep is found."""
    model = open_model(Path(compiled("small ViT", "attnlrp", "block").directory))
    schedule = verify_schedule(model.schedule)
    plain = schedule.targets[0].plain
    again = [s for s in plain.body if isinstance(s, Recompute) and isinstance(s.run, Call)]
    called = {s.run.function for s in again if isinstance(s.run, Call)}
    functions = [f for f in schedule.functions if f.name in called]
    function = next(f for f in functions if any(_is(s, "linear") for s in f.body))
    without = replace(function, body=function.body[1:])
    with pytest.raises(IRError, match="is read before it is made"):
        verify_schedule(_with_function(schedule, without))
    emptied = tuple(replace(s, run=None) if isinstance(s, Recompute) else s for s in plain.body)
    target = replace(schedule.targets[0], functions=(replace(plain, body=emptied),))
    with pytest.raises(IRError, match="the state has no "):
        verify_schedule(replace(schedule, targets=(target, *schedule.targets[1:])))


def _is(statement: object, op: str) -> bool:
    return isinstance(statement, Compute) and statement.op == op


def _with_function(schedule: Schedule, function: Function) -> Schedule:
    others = (function if f.name == function.name else f for f in schedule.functions)
    return replace(schedule, functions=tuple(others))


def test_what_was_found_right_holds_for_operands_of_the_same_types_alone() -> None:
    builder = Builder({})
    x, y = (Value(name, TensorType("f32", (B, 4))) for name in "xy")
    wide = Value("wide", TensorType("f32", (B, 5)))
    (z,) = builder.op("relu", x)
    node = builder.nodes[0]
    assert node.verified == node.reading((y,)).verified == ()
    for wrong in (node.reading((wide,)), replace(node, inputs=(wide,)), replace(node, op="sum")):
        assert wrong.verified is None
        with pytest.raises(IRError):
            verify(Graph("forward", (x, y, wide), (wrong,), (("out", z),)))
