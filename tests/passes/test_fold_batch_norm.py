"""Batch norms that become part of the map before them, and those that stay by themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.compiler import compile_config
from lrpc.config import load_config
from lrpc.ir.parser import parse_graph
from lrpc.program.loading import load_program
from tests.models.test_models_cnn import LIMIT, closes, example, gradient_times_input
from tests.support.configs import error_of, nested
from tests.support.convolutional import LINEAR_PIECES, disturbed
from tests.support.programs import difference
from tests.support.twins import stab

#: How many batch norms are left: where they fold, and where they are told not to.
COUNTS = {
    "multilayer perceptron": (0, 1),
    "classifier": (0, 2),
    "u-net": (0, 3),
    "signal": (0, 1),
    "transposed in groups": (0, 1),
    "shared weights": (0, 1),
    "batch norm elsewhere": (3, 3),
}


def norms(program: Any) -> list[tuple[str, str]]:
    """Role and rule of each batch norm of a program."""
    graph = parse_graph((program.directory / "graph.lrp").read_text())
    found = [node for node in graph.nodes if node.op == "batch_norm"]
    return [(node.role, node.rule.name if node.rule else "") for node in found]


@pytest.mark.parametrize("name", COUNTS)
def test_both_ways_give_the_model_and_its_gradient(name: str) -> None:
    make, shape = LINEAR_PIECES[name]
    torch.manual_seed(0)
    model, x = disturbed(make()), example(2, *shape)
    y = model(x)
    g = example(1, *y.shape, seed=3)
    expected = gradient_times_input(model, x, g)
    for fold, count in zip((True, False), COUNTS[name], strict=True):
        program: Any = lrpc.compile(
            model, (x,), composite="epsilon", epsilon=0.0, fold_batch_norm=fold
        )
        assert norms(program) == [("batch_norm", "epsilon")] * count
        assert program.manifest["fold_batch_norm"] is fold
        state = program.forward(x)
        assert difference(state.outputs, y) < LIMIT
        found = program.relevance(state, "output", seeds=g * y, ledger=True)
        assert difference(found.input, expected) < LIMIT
        closes(found.ledger)


def test_each_way_follows_its_formula() -> None:
    """ε as large as the outputs: R carried back by hand, through one linear map or through two."""
    torch.manual_seed(0)
    model = disturbed(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)))
    linear, norm, _, head = (model.get_submodule(str(i)) for i in range(4))
    x, eps = example(3, 5), 0.5
    z = linear(x)
    y = norm(z)
    r = model(x)
    onto_norm = y.relu() * ((r / stab(r, eps)) @ head.weight)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()  # type: ignore[operator]
    folded = x * ((onto_norm / stab(y, eps)) @ (linear.weight * scale[:, None]))
    onto_linear = z * scale * onto_norm / stab(y, eps)
    apart = x * ((onto_linear / stab(z, eps)) @ linear.weight)
    assert difference(folded, apart) > 0.05
    for fold, expected in ((True, folded), (False, apart)):
        found = relevance(model, x, eps, fold)
        assert difference(found, expected) < LIMIT


def relevance(model: nn.Module, x: Tensor, eps: float, fold: bool) -> Tensor:
    program: Any = lrpc.compile(model, (x,), composite="epsilon", epsilon=eps, fold_batch_norm=fold)
    state = program.forward(x)
    found = program.relevance(state, "output", seeds=state.outputs[None], ledger=True)
    closes(found.ledger)
    result: Tensor = found.input[0]
    return result


CONFIG = """
LRPC:
  SOURCE: tests.support.small:normed
  SHAPES: [[32, 32]]
  PRECISION: fp64
"""


@pytest.mark.parametrize("fold", [None, True, False])
def test_the_key_of_a_config(fold: bool | None, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    overrides = [] if fold is None else ["LRPC.FOLD_BATCH_NORM", str(fold)]
    compile_config(load_config(tmp_path / "c.yaml", overrides), tmp_path / "out")
    program: Any = load_program(tmp_path / "out", "cpu")
    assert norms(program) == ([("batch_norm", "epsilon")] if fold is False else [])
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["config"]["LRPC"]["FOLD_BATCH_NORM"] is (fold is not False)
    images = 255 * torch.rand(2, 3, 32, 32, dtype=torch.float64)
    found = program.relevance(program.forward(images), "output", at=[(1,)], ledger=True)
    closes(found.ledger)


def test_the_key_takes_yes_or_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = error_of(nested("LRPC.FOLD_BATCH_NORM", "maybe"))
    expected = 'expected true or false, got "maybe"; the default is true'
    assert text == f"c.yaml:2: LRPC.FOLD_BATCH_NORM: {expected}"
