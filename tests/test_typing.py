"""A user's script under `mypy --strict`: what the package gives has types, and wrong calls show."""

from __future__ import annotations

import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lrpc

ROOT = Path(__file__).resolve().parents[1]

SCRIPT = """\
from __future__ import annotations

from collections.abc import Mapping
from typing import assert_type

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import lrpc
from lrpc import LRPExplainer
from lrpc.attribution import Attribution
from lrpc.commands.compare.comparison import Comparison
from lrpc.errors import ImageError
from lrpc.results.memory import Explanations
from lrpc.results.opened import Results
from lrpc.results.target import Target
from lrpc.runtime.program import Program
from lrpc.runtime.results import Ledger, Relevance, State

loaded = lrpc.load("build/digits", device="cpu")
found = loaded.explain("examples/digits/scenes", "class_logit", top=3, at=[(120, 80)])
assert_type(found, Explanations)
assert_type(lrpc.explain(loaded, lrpc.images("a", "b"), ["box", "class_logit"]), Explanations)
one = found[0]
assert_type(one, Target)
assert_type(one.map, NDArray[np.float32])
assert_type(one.mask, NDArray[np.bool_] | None)
assert_type(one.box, tuple[float, float, float, float] | None)
assert_type(one.title, str)
one.save("figure.pdf", width=3.3)
one.plot().set_title("mine")
for each in found:
    assert_type(each, Target)

results = lrpc.open("out")
assert_type(results, Results)
assert_type(results[0], Target)
for row in results:
    assert_type(row.original_map, NDArray[np.float32])

state = loaded.forward(torch.zeros(1, 3, 64, 64))
assert_type(state, State)
logits: Tensor = state.outputs["pred_logits"]
relevance = loaded.relevance(state, "class_logit", at=[(0, 5)], ledger=True, norm="sum1")
assert_type(relevance, Relevance)
assert_type(relevance.input, Tensor)
assert_type(relevance.layers["encoder.layers.0"], Tensor)
assert_type(relevance.ledger, Ledger | None)
if relevance.ledger is not None:
    sinks: Mapping[str, Tensor] = relevance.ledger.sinks
    assert_type(relevance.ledger.closure, Tensor)
relevance.save("map.pdf", torch.zeros(3, 64, 64))
assert_type(loaded(torch.zeros(1, 3, 64, 64), "class_logit", at=[(0, 5)]), Relevance)

rules = lrpc.composite("epsilon", 1e-6)
model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
program = lrpc.compile(model, (torch.zeros(1, 2),), composite=[rules, "gamma"])
assert_type(program, Program)
program.save("build/mine")
assert_type(lrpc.compare({"a": program, "b": loaded}, torch.zeros(1, 2)), Comparison)
explainer = LRPExplainer(model, torch.zeros(2))
assert_type(explainer.explain(torch.zeros(2), 1), Attribution)
assert_type(explainer.attribute(torch.zeros(1, 2), target=0), Tensor)
weights = lrpc.attention(loaded, state)
assert_type(lrpc.contrast(logits, (0, 5), "next"), Tensor)
assert_type(lrpc.imgify(one.map), NDArray[np.uint8])

try:
    lrpc.load("nowhere")
except (lrpc.ProgramError, ImageError, lrpc.LrpcError) as error:
    print(error)
"""

WRONG = """\
import lrpc

loaded = lrpc.load(3)
found = loaded.explain("scenes", tops=3)
found[0].mapp
loaded.relevance(loaded.forward(), target=5)
lrpc.nothing
lrpc.compare(3, [])
"""


def mypy(script: str, folder: Path) -> tuple[int, list[str]]:
    """The exit code and the errors of a script in a folder of its own."""
    pytest.importorskip("mypy")
    path = folder / "script.py"
    path.write_text(script)
    options = ["--strict", "--follow-imports=silent", "--no-error-summary"]
    cache = ["--cache-dir", str(folder.parent / "mypy")]
    call = [sys.executable, "-m", "mypy", *options, *cache, "--config-file=", path.name]
    done = subprocess.run(
        call, cwd=folder, env={"MYPYPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.mark.slow
def test_a_script_is_strictly_typed_and_wrong_calls_show(tmp_path: Path) -> None:
    assert mypy(SCRIPT, tmp_path) == (0, [])
    code, told = mypy(WRONG, tmp_path)
    assert code == 1
    lines = {int(line) for line in re.findall(r"^script\.py:(\d+): error", "\n".join(told), re.M)}
    assert lines == {3, 4, 5, 6, 7, 8}


def test_the_package_is_marked_as_typed() -> None:
    assert all((ROOT / name / "py.typed").is_file() for name in ("lrpc", "passes"))


def test_every_public_name_is_documented_and_completed() -> None:
    assert dir(lrpc) == sorted(lrpc.__all__) == lrpc.__all__
    for name in lrpc.__all__:
        one = getattr(lrpc, name)
        if name != "__version__":
            assert one.__doc__, name
            assert one.__doc__.strip()[0].isupper() or one.__doc__.startswith("`"), name


def test_help_tells_every_public_name() -> None:
    told = pydoc.plain(pydoc.render_doc(lrpc))
    for name in {*lrpc.__all__} - {"__version__"}:
        assert re.search(rf"^    (class )?{re.escape(name)}\b", told, re.MULTILINE), name
