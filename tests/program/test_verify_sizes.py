"""`lrpc verify` at several sizes: what is wrong at some of them alone is found."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.cli import main
from lrpc.ir.sizes import Size
from lrpc.program.verify import checks
from lrpc.program.verify_sizes import Check, folded, points
from tests.support.programs import ANY_SIZE, DIGITS, Programs


class Ramp(nn.Module):
    """A convolution plus a ramp over its columns, of which the four strongest places count."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 8, 8), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = torch.relu(self.stem(x))
        y = y + torch.linspace(0, 1, y.shape[3], dtype=x.dtype)
        return {"classes": self.head(y.mean((2, 3))), "best": y[:, 0].flatten(1).topk(12).values}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 48, 32, dtype=torch.float64)
    dynamic = {"x": {2: ("H", 16), 3: ("W", 16)}}
    p = lrpc.compile(Ramp().double().eval(), (x,), composite="epsilon", dynamic=dynamic)
    return Path(p.save(tmp_path_factory.mktemp("programs") / "ramp"))


def changed(directory: Path, folder: Path, right: str, wrong: str) -> Path:
    """A copy of a program with another text, and a manifest that fits it."""
    shutil.copytree(directory, folder)
    source = (folder / "program.py").read_text()
    assert right in source
    text = source.replace(right, wrong).encode()
    (folder / "program.py").write_bytes(text)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["program.py"] = hashlib.sha256(text).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_program_is_run_at_its_example_a_larger_a_turned_and_the_smallest_size(
    directory: Path,
) -> None:
    found = list(checks(directory))
    assert all(check.passed for check in found)
    sizes = ["H = 48, W = 32", "H = 80, W = 48", "H = 48, W = 80", "H = 32, W = 32"]
    assert list(dict.fromkeys(check.at for check in found)) == sizes  # 16×16 has four places
    told = [check.what for check in found if check.at == sizes[1]]
    assert told == [
        *("outputs, against the interpreter", "ledgers", "ledgers, worst node"),
        *("amplification", "with and without ledger", "classes → its places"),
    ]


@pytest.mark.parametrize(
    ("right", "wrong", "failing"),
    [
        ("W // 8 + -1", "3", "output classes"),
        ("(1,), H * W // 64", "(1,), 24", "classes → input.x"),
        ('s["topk_1"], -1, H * W // 64', 's["topk_1"], -1, 24', "fails"),
    ],
)
def test_what_is_right_for_the_example_alone_fails(
    directory: Path, tmp_path: Path, right: str, wrong: str, failing: str
) -> None:
    found = list(checks(changed(directory, tmp_path / "wrong", right, wrong)))
    assert "H = 48, W = 32" not in {check.at for check in found if not check.passed}
    assert "H = 80, W = 48" in {check.at for check in found if not check.passed}
    assert failing in {check.what for check in found if not check.passed}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["H=64", "W=16"], ["at H = 64, W = 16"]),
        (["W=64"], ["at H = 48, W = 64"]),
        (["H=32", "--size", "H=96", "W=80"], ["at H = 32, W = 32", "at H = 96, W = 80"]),
    ],
)
def test_sizes_may_be_given(
    directory: Path, given: list[str], shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(directory), "--size", *given]) == 0
    said = capsys.readouterr().out
    assert [line for line in shown if line in said] == shown
    assert said.count("at H") == len(shown)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["H=70"], "--size H=70: give H=N, N a multiple of 16"),
        (["T=3"], "--size T=3: sizes that vary are H, W"),
        (["H=16", "W=16"], "ramp: nothing can be computed at H = 16, W = 16: "),
    ],
)
def test_sizes_that_cannot_be_verified_are_refused(
    directory: Path, given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(directory), "--size", *given]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_a_program_of_one_size_has_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    one = lrpc.compile(nn.Linear(3, 2).eval(), (torch.randn(2, 3),))
    assert main(["verify", str(one.directory), "--size", "H=96"]) == 2
    assert "sizes that vary are none: the program is of one size" in capsys.readouterr().err


def test_outputs_are_held_against_the_model_of_a_config(
    programs: Programs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    directory = programs.directory(DIGITS, **ANY_SIZE)
    words = [str(directory), "--size", "H=64", "W=96", "--config", str(DIGITS)]
    assert main(["verify", *words]) == 0
    assert capsys.readouterr().out.count("against the model") == 3
    assert main(["verify", *words, "MODEL.WEIGHTS", ""]) == 1
    assert capsys.readouterr().out.count("FAILED") == 3
    other = ("MODEL.WEIGHTS", "", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "9", "LRPC.CLASS_NAMES", "[]")
    assert main(["verify", *words, *other]) == 1
    said = capsys.readouterr().out
    assert "its shape is" in said
    assert said.count("FAILED") == 3
    assert main(["verify", *words[:1], "MODEL.WEIGHTS", ""]) == 2
    assert "KEY VALUE goes with --config FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ((), [{}]),
        (((160, 32), (160, 32)), [(160, 160), (224, 192), (192, 224), (32, 32)]),
        (((64, 32), (96, 32)), [(64, 96), (96, 160), (160, 96), (32, 32)]),
        (((64, 64), (64, 64)), [(64, 64), (192, 128), (128, 192)]),
    ],
)
def test_other_sizes(sizes: tuple[tuple[int, int], ...], wanted: list[Any]) -> None:
    known = [Size(name, step, example) for name, (example, step) in zip("HW", sizes, strict=False)]
    expected = [dict(zip("HW", one, strict=True)) if one else {} for one in wanted]
    assert [tries[0] for tries in points(known)] == expected


def test_each_kind_is_told_by_what_is_nearest_to_its_limit_or_by_all_that_fail() -> None:
    given = [
        Check("a", 1.0, 10.0, kind="x"),
        Check("b", 0.5, 1.0, kind="x"),
        Check("c", 2.0, 1.0, kind="y"),
        Check("d", 0.1, 1.0, kind="y"),
        Check("e", float("nan"), 1.0, kind="y"),
    ]
    found = list(folded(given))
    assert [check.what for check in found] == ["x", "c", "e"]
    assert (found[0].figure, found[0].remark) == (0.5, "the largest of 2: b")
