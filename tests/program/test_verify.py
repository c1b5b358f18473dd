"""`lrpc verify` passes a sound program and fails a wrong one."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.cli import main
from lrpc.ir.types import B
from lrpc.program.example_inputs import strongest
from lrpc.program.interpreted import rounded
from lrpc.program.tolerance import TOLERANCES
from lrpc.program.verify import checks
from lrpc.program.verify_figures import output_check
from tests.support.programs import ANY_SIZE, DIGITS, Programs

SMALL = ("--size", "H=64", "W=96")
"""One size; at several: test_verify_sizes.py."""


def test_a_sound_program_passes(programs: Programs, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(programs.directory(DIGITS, **ANY_SIZE)), *SMALL]) == 0
    said = capsys.readouterr().out
    assert "FAILED" not in said
    assert "checks passed" in said


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (
            "narrowed(t.sub_(t.mean(-1, keepdim=True)), ",
            "narrowed(t, ",
        ),  # LayerNorm's mean is forgotten
        ("    out = F.embedding_bag(", "    out = 1.001 * F.embedding_bag("),
        ("t.sum(dim, keepdim=True).neg_()", "-0.99 * t.sum(dim, keepdim=True)"),
    ],
)
def test_a_wrong_program_fails(
    programs: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str], right: str, wrong: str
) -> None:
    folder = tmp_path / "program"
    shutil.copytree(programs.directory(DIGITS, **ANY_SIZE), folder)
    source = (folder / "program.py").read_text()
    assert right in source
    changed = source.replace(right, wrong, 1).encode()
    (folder / "program.py").write_bytes(changed)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["program.py"] = hashlib.sha256(changed).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert main(["verify", str(folder), *SMALL]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_outputs_may_part_at_near_ties_only() -> None:
    expected = torch.ones(1, 100, 10)
    for queries, passes in ((0, True), (2, True), (3, False)):
        got = expected.clone()
        got[:, :queries] = 2.0
        check = output_check("logits", got, expected, TOLERANCES["fp32"])
        assert check.passed is passes
        assert (f"{10 * queries} of 1000 entries" in check.remark) is (queries > 0)
    exact = output_check("logits", got.double(), expected.double(), TOLERANCES["fp64"])
    assert not exact.passed
    assert not output_check("logits", got * torch.nan, expected, TOLERANCES["fp32"]).passed


class Pooled(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x).sum(-1)


def test_an_output_of_one_value_for_each_image() -> None:
    program = lrpc.compile(Pooled().eval(), (torch.randn(2, 3, dtype=torch.float64),))
    found = list(checks(Path(program.directory)))
    assert found
    assert all(check.passed for check in found)


class Absent(nn.Module):
    """Scores below 0, and a 0 that stands for none."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([-x.abs(), torch.zeros_like(x[:, :1])], 1)


def test_an_entry_that_is_0_is_not_what_is_explained(tmp_path: Path) -> None:
    """It has no relevance: nothing would be compared."""
    x = torch.rand(2, 3) + 0.5
    directory = Path(lrpc.compile(Absent(), (x,), composite="epsilon").save(tmp_path / "p"))
    found = list(checks(directory))
    assert all(check.passed for check in found)
    value, target = torch.tensor([[-2.0, -1.0, 0.0], [0.0, 0.0, 0.0]]), {"axes": [0]}
    assert strongest(value, target, (B, 3)).tolist() == [[[1], [0]]]


def test_a_ledger_of_nothing_is_closed() -> None:
    x = torch.rand(2, 3) + 0.5
    program = lrpc.compile(Absent(), (x,), composite="epsilon")
    ledger = program.relevance(program.forward(x), "output", at=[(3,)], ledger=True).ledger
    assert all(float(rest.max()) == 0 for rest in ledger.node_closure().values())
    assert all(share == 0 for *_, share in ledger.biggest())


def test_rounding_moves_by_half_a_unit() -> None:
    values = {"x": torch.rand(1000) + 1, "mask": torch.tensor([True, False])}
    found = rounded(values)
    by = (found["x"] - values["x"].double()).abs().max()
    assert 2**-25 < float(by) <= 2**-23
    assert found["mask"] is values["mask"]
