"""On CUDA nothing that a program computes takes or makes a tensor on the CPU; no GPU is needed."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

import lrpc
from lrpc.backend.emission import EMISSION
from lrpc.backend.expression import render
from lrpc.backend.sources import FUNCTIONS, MODULES
from lrpc.ir.types import DTYPES, TensorType
from lrpc.runtime.kernels import deformable, ratios
from tests.runtime.test_load_compile import Layers, X
from tests.support.op_samples import SAMPLES
from tools import fake_cuda

EMITTED = [sample for sample in SAMPLES if sample.op in EMISSION]
SIZES = {"B": 2, "K": 5}

pytestmark = pytest.mark.skipif(
    not fake_cuda.cuda_build(),
    reason="this torch has no CUDA build (pip install torch brings one; no GPU is needed)",
)


def empty(kind: TensorType) -> torch.Tensor:
    return torch.empty(kind.sized(SIZES), dtype=DTYPES[kind.dtype], device="cuda")


@pytest.mark.parametrize("triton", [False, True], ids=["torch", "triton"])
def test_every_op(monkeypatch: pytest.MonkeyPatch, triton: bool) -> None:
    for module in (deformable, ratios):
        monkeypatch.setattr(module, "has_triton", lambda tensor: triton)
    monkeypatch.setattr(ratios, "triton_stab_mul", lambda g, z, eps, out: out)  # no operator
    scope: dict[str, Any] = {"torch": torch, "F": F, "device": torch.device("cuda"), **SIZES}
    for module in MODULES:
        scope |= {k: v for k, v in vars(module).items() if k in FUNCTIONS}
    for sample in EMITTED:
        graph = sample.graph()
        (node,) = graph.nodes
        text = render(node, [v.name for v in graph.inputs], lambda name: f"w[{name!r}]")
        with FakeTensorMode():
            weights = {name: empty(kind) for name, kind in graph.weights}
            given = {value.name: empty(value.type) for value in graph.inputs}
            with torch.no_grad(), fake_cuda.OneDevice("<string>") as watch:
                eval(text, {**scope, "w": weights}, given)
        assert not watch.found, f"{text}: {watch.found}"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = lrpc.compile(Layers().eval(), (X,), composite=["attnlrp", "gamma"])
    return made.save(tmp_path_factory.mktemp("fake") / "program")


def test_a_program(program: Path) -> None:
    calls, found = fake_cuda.check(program)
    assert not found
    assert {"forward, torch", "forward, Triton"} < set(calls)
    assert "output, gamma, 5 seeds, ledger, Triton" in calls


def test_what_is_made_on_the_cpu_is_found(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(program, changed)
    text = (changed / "program.py").read_text()
    text, count = re.subn(
        r"(\ndef forward\(w, saved, (\w+)\):\n)", r"\1    \2.add_(torch.ones(()))\n", text
    )
    assert count == 1
    (changed / "program.py").write_text(text)
    manifest = json.loads((changed / "manifest.json").read_text())
    manifest["sha256"]["program.py"] = hashlib.sha256(text.encode()).hexdigest()
    (changed / "manifest.json").write_text(json.dumps(manifest))
    assert fake_cuda.main([str(changed)]) == 1
    told = capsys.readouterr().out
    assert "forward, torch: aten.ones.default with tensors on cpu, line" in told
    assert "forward, torch: aten.add_.Tensor with tensors on cpu and cuda, line" in told
    assert ".add_(torch.ones(()))" in told
