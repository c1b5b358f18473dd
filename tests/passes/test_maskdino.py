"""The marking pipeline on whole MaskDINO graphs: what is found, and that values stay."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
import torch

from lrpc.frontend import import_model
from lrpc.ir.graph import Module
from lrpc.ir.interpreter import interpret
from lrpc.ir.parser import parse_graph
from lrpc.ir.printer import print_graph
from lrpc.models.maskdino import build_maskdino
from lrpc.rules.composite import COMPOSITES, composite
from passes import MARKING, Pass, annotating, run_pipeline
from passes.reachable import carries, relevance_reachable
from tests.support.maskdino_cases import digits_model, golden_config

PADDING = torch.zeros(2, 128, 160, dtype=torch.bool)
PADDING[:, :, 130:] = True


@cache
def imported(case: str, padded: bool) -> Module:
    torch.manual_seed(0)
    inputs = {"images": torch.rand(2, 3, 128, 160) * 255}
    if padded:
        inputs["padding_mask"] = PADDING
    return import_model(build_maskdino(golden_config(case)).eval(), inputs).module


@cache
def marked_model() -> Module:
    return run_pipeline(imported("3s", True), MARKING)


def count(module: Module, role: str, op: str = "") -> int:
    return sum(node.role == role and op in ("", node.op) for node in module.graph.nodes)


@pytest.mark.parametrize(
    ("case", "padded"), [("3s", True), pytest.param("3s", False, marks=pytest.mark.slow)]
)
def test_marks_of_the_three_scale_model(case: str, padded: bool) -> None:
    def reparsed(step: Pass, module: Module) -> None:
        assert parse_graph(print_graph(module.graph)) == module.graph, step.name

    marked = run_pipeline(imported(case, padded), MARKING, reparsed)
    assert count(marked, "positional") == 6 + 9 * 2
    assert count(marked, "residual") == 16 + 6 * 2 + 9 * 3
    assert count(marked, "layer_norm") == 6 * 2 + 9 * 3 + 4
    assert count(marked, "group_norm") == 5
    for part in ("scores", "probabilities", "values"):
        assert count(marked, f"attention_{part}") == 9
    assert count(marked, "deformable_sampling") == count(marked, "deformable_probabilities") == 15
    assert count(marked, "bilinear") == 2
    assert count(marked, "convolution") == 53 + 3 + 3
    assert Counter(n.op for n in marked.graph.nodes)["batch_norm"] == 0
    assert all(node.role for node in marked.graph.nodes)


def test_coordinates_carry_nothing_and_boxes_do() -> None:
    marked = marked_model()
    able = relevance_reachable(marked.graph)
    assert {name for name, value in marked.graph.outputs if value.name in able} == {
        "pred_logits", "pred_boxes", "pred_masks",
    }  # fmt: skip
    assert not any(carries(n, able) for n in marked.graph.nodes if n.role == "coordinate")
    heads = [n for n in marked.graph.nodes if "ref_point_head" in n.loc.module]
    assert heads
    assert not any(carries(node, able) for node in heads)
    positions = [n for n in marked.graph.nodes if n.role == "positional"]
    assert not any(node.inputs[1].name in able for node in positions)


@pytest.mark.parametrize("name", sorted(COMPOSITES))
def test_every_composite_covers_the_model(name: str) -> None:
    box = {"low": -2.0, "high": 2.0} if name == "epsilon_gamma_box" else {}
    passes = annotating(composite(name, **box))[len(MARKING) :]
    marked = marked_model()
    run_pipeline(marked, passes)


def test_values_stay() -> None:
    model = digits_model(torch.float64)
    images = torch.rand(2, 3, 128, 160, dtype=torch.float64) * 255
    given = {"images": images, "padding_mask": PADDING}
    before = import_model(model, given).module
    after = run_pipeline(before, MARKING)
    expected = interpret(before.graph, before.tensors, given)
    found = interpret(after.graph, after.tensors, given)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9, msg=name)
