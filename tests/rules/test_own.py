"""Rules that users register: the documented example, its twin, and how configs load it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lrpc
from lrpc.cli import main
from lrpc.compiler import compile_config, compile_graph
from lrpc.config import load_config
from lrpc.errors import LrpcError, RuleError
from lrpc.program.verify import checks
from lrpc.rules import CATALOGUE, FAMILIES, register, unregister
from lrpc.rules.plugins import load_plugins
from tests.support.one_node import Case
from tests.support.twins import back, check, columns, n, stab

ROOT = Path(__file__).resolve().parents[2]
NAME = "epsilon_rms"
CONFIG = """
MODEL:
  WEIGHTS: ""
LRPC:
  SOURCE: tests.support.small:network
  SHAPES: [[32, 32]]
  TARGETS: [class_logit]
  COMPOSITE: cp_lrp
  PLUGINS: [examples.own_rule]
  RULES: [{role: linear, rule: epsilon_rms, factor: 0.05}]
"""


@pytest.fixture(scope="module", autouse=True)
def own() -> Iterator[Any]:
    """The example, registered for the tests of this file alone."""
    before = {**CATALOGUE}
    yield importlib.import_module("examples.own_rule")
    unregister(NAME)
    del sys.modules["examples.own_rule"]
    assert before == CATALOGUE


# -- the example -----------------------------------------------------------------------------------


def twin(matrix: Tensor, z: Tensor, r: Tensor, x: Tensor, factor: float) -> list[Tensor]:
    """The formula, image by image."""
    divisors = [stab(one, factor * float(one.square().mean().sqrt())) for one in z]
    return [back(matrix, r / torch.stack(divisors), x)]


@pytest.mark.parametrize("factor", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("bias", [True, False])
def test_the_rule_on_linear_maps_has_a_twin(factor: float, bias: bool) -> None:
    torch.manual_seed(0)
    w, b, x = n(3, 4), n(3) if bias else torch.zeros(3).double(), n(2, 5, 4)
    weights = {"weight": w, "bias": b} if bias else {"weight": w}
    matrix, z = columns(lambda v: v @ w.T, x), x @ w.T + b
    case = Case("linear", (x,), {}, weights)
    found = check(case, NAME, z, lambda r: twin(matrix, z, r, x, factor), factor=factor)
    assert ("bias" in found.sinks) == bias
    assert (float(found.sinks["epsilon"].abs().max()) > 1e-6) == (factor > 0)


def test_the_rule_on_convolutions_has_a_twin() -> None:
    torch.manual_seed(1)
    w, b, x = n(4, 1, 3, 2), n(4), n(2, 2, 4, 3)
    attrs = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 1), "groups": 2}
    f = lambda v: F.conv2d(v, w, None, (2, 1), (1, 0), 1, 2)  # noqa: E731
    matrix, z = columns(f, x), f(x) + b.reshape(-1, 1, 1)
    case = Case("conv2d", (x,), attrs, {"weight": w, "bias": b})
    check(case, NAME, z, lambda r: twin(matrix, z, r, x, 0.3), factor=0.3)


def test_relevance_does_not_depend_on_the_scale_of_a_layer() -> None:
    """What the rule is for: ε grows with z."""
    torch.manual_seed(0)
    x = torch.randn(2, 4, dtype=torch.float64)
    found = []
    for scale in (1.0, 1000.0):
        torch.manual_seed(3)
        model = nn.Linear(4, 3, dtype=torch.float64)
        model.weight.data *= scale
        model.bias.data *= scale
        rules = [{"op": "linear", "rule": NAME}]
        program: Any = lrpc.compile(model, (x,), composite="epsilon", rules=rules)
        found.append(program(x, "output", at=[(1,)], norm="sum1").input)
    torch.testing.assert_close(found[0], found[1])


@pytest.fixture(scope="module")
def folder(own: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of a config that names the rule."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "config.yaml").write_text(CONFIG)
    compile_config(load_config(folder / "config.yaml", []), folder / "program")
    return folder / "program"


def test_a_program_from_yaml_verifies(folder: Path) -> None:
    found = list(checks(folder, every=True))
    assert [c for c in found if not c.passed] == []
    assert any("against the interpreter" in c.remark for c in found)
    text = (folder / "program.py").read_text()
    assert "epsilon_rms(factor=0.05)" in text


def test_a_fresh_process_takes_the_rule_where_it_is_allowed(folder: Path, tmp_path: Path) -> None:
    settings = json.loads((folder / "manifest.json").read_text())["config"]["LRPC"]
    assert settings["PLUGINS"] == ["examples.own_rule"]
    for options, code in (([], 2), (["--plugin", "examples.own_rule"], 0)):
        ran = subprocess.run(
            [sys.executable, "-m", "lrpc.cli", "verify", str(folder), *options],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        assert ("--plugin examples.own_rule" in ran.stderr) == (code == 2)
    report = compile_graph(folder / "graph.lrp", tmp_path / "again")
    assert (report.directory / "program.py").read_bytes() == (folder / "program.py").read_bytes()


def test_rules_lists_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", NAME, "--plugin", "examples.own_rule"]) == 0
    said = capsys.readouterr().out
    assert "epsilon_rms for registered rules" in said
    assert "linear, conv2d" in said
    assert "Montavon et al. 2019" in said


def test_the_example_runs_as_a_script() -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "own_rule.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("sum of relevance") == 2


# -- registering -----------------------------------------------------------------------------------


def refusal(call: Any) -> str:
    with pytest.raises(LrpcError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_name_that_exists_is_refused(own: Any) -> None:
    before = {**CATALOGUE}
    again = replace(own.EPSILON_RMS, ops=("conv2d",))
    assert refusal(lambda: register(again)) == (
        "rule epsilon_rms exists for conv2d already; choose another name"
    )
    taken = replace(own.EPSILON_RMS, name="epsilon")
    assert "rule epsilon exists for linear already" in refusal(lambda: register(taken))
    assert before == CATALOGUE


def test_names_and_operations_are_checked(own: Any) -> None:
    rule = own.EPSILON_RMS
    assert "lower case" in refusal(lambda: register(replace(rule, name="My rule")))
    unknown = replace(rule, name="mine", ops=("linaer",))
    assert refusal(lambda: register(unknown)) == (
        "rule mine: there is no operation 'linaer'; did you mean linear?"
    )
    assert "no rule of your own is called 'epsilon'" in refusal(lambda: unregister("epsilon"))


def test_a_rule_can_be_defined_anew(own: Any) -> None:
    mine = register(replace(own.EPSILON_RMS, name="mine"))
    assert CATALOGUE["linear", "mine"] is mine
    unregister("mine")
    assert ("linear", "mine") not in CATALOGUE
    assert mine not in FAMILIES["registered rules"]
    register(mine)
    unregister("mine")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (None, "cannot be imported (No module named 'plugin_under_test')"),
        ("1 / 0", "plugin plugin_under_test: raised ZeroDivisionError: division by zero"),
        (
            "from dataclasses import replace\nfrom examples.own_rule import EPSILON_RMS\n"
            "from lrpc.rules import register\nregister(replace(EPSILON_RMS, name='epsilon'))",
            "plugin plugin_under_test: rule epsilon exists for linear already",
        ),
    ],
)
def test_plugins_that_fail_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str | None, text: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    if body is not None:
        (tmp_path / "plugin_under_test.py").write_text(body)
    with pytest.raises(RuleError) as caught:
        load_plugins(["plugin_under_test"])
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
