"""The command `lrpc run`: exit codes, what it prints and where, and the program directory."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lrpc.cli import main
from lrpc.commands.drawing import draw
from lrpc.errors import ProgramError
from lrpc.program.loading import load_program
from tests.support.run_fakes import FakeProgram, write_image, write_program


def run(tmp_path: Path, *images: Path | str, program: str = "DIR") -> tuple[int, str]:
    """The command's exit code and what it printed."""
    if not (tmp_path / "DIR").exists():
        write_program(tmp_path / "DIR")
    out = ["-o", str(tmp_path / "out"), "--device", "cpu"]
    with redirect_stdout(io.StringIO()) as table, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "120")
        code = main(["run", str(tmp_path / program), *out, "--images", *map(str, images)])
    return code, table.getvalue()


def test_the_command_ends_with_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"[bold]two.png": 250, "one.png": 150, "none.png": 50}
    images = [write_image(tmp_path / name, red) for name, red in names.items()]
    code, table = run(tmp_path, *images)
    assert code == 0
    assert "3 images to" in table
    assert "[bold]two.png │       2" in table
    assert "no detection above 0.5" in table
    assert "0 failed" in table
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == f"{images[1]}: 1 target"
    assert len(lines) == 3


def test_the_command_fails_where_an_image_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("no")
    code, table = run(tmp_path, broken, write_image(tmp_path / "a.png", 150))
    assert code == 1
    assert "1 failed" in table
    assert f"{broken}: not an image that Pillow can read\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--target", "class_logits"], "error: target 'class_logits': unknown kind"),
        (["--target", "box:99,0"], "error: target 'box:99,0': '99' is outside pred_boxes [4, 4]"),
        (["gone.png"], "error: gone.png: no such file or folder"),
    ],
)
def test_usage_errors_are_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], message: str
) -> None:
    code, table = run(tmp_path, write_image(tmp_path / "a.png", 150), *extra)
    assert (code, table) == (2, "")
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1


def test_reading_and_writing_one_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "out/a.png", 150)
    assert run(tmp_path, tmp_path / "out")[0] == 2
    assert "the images are read from this folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "bad", [["--batch-size", "0"], ["--score", "2"], ["--smooth", "-1"], ["--top", "1.5"]]
)
def test_numbers_out_of_range_end_in_argparse(tmp_path: Path, bad: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, "a.png", *bad)
    assert caught.value.code == 2


def test_smoothing_changes_the_picture_and_not_the_tensor(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png", 150)
    args = ["--smooth", "2", "--percentile", "90"]
    code, _ = run(tmp_path, image, *args)
    assert code == 0
    (target,) = json.loads((tmp_path / "out/a.json").read_text())["targets"]
    assert target["display"]["smooth_sigma_pixels"] == 2
    assert target["display"]["percentile"] == 90
    assert target["relevance"]["sum"] == pytest.approx(120)
    panel = Image.open(tmp_path / "out" / target["files"]["panel"])
    assert np.asarray(panel).shape[0] >= 480


def test_a_program_directory_is_checked_and_leaves_no_trace(tmp_path: Path) -> None:
    folder = write_program(tmp_path / "DIR")
    before = set(sys.modules)
    assert isinstance(load_program(folder, "cpu"), FakeProgram)
    assert {name for name in set(sys.modules) - before if "lrpc_program" in name} == set()
    assert not (folder / "__pycache__").exists()
    (folder / "program.py").write_text(
        "def load(device):\n    raise ValueError('bad hash\\nmore')\n"
    )
    with pytest.raises(ProgramError, match=r"DIR: bad hash$"):
        load_program(folder, "cpu")
    (folder / "graph.lrp").unlink()
    with pytest.raises(ProgramError, match=r"it lacks graph\.lrp; compile it again"):
        load_program(folder, "cpu")
    with pytest.raises(ProgramError, match="not a directory; `lrpc compile -o"):
        load_program(tmp_path / "nowhere", "cpu")


def test_names_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["odd\udcff.png", "two\nlines.png", "straße\x1b[31m.png"]
    for name in names:
        write_image(tmp_path / "images" / name, 150)
    code, table = run(tmp_path, tmp_path / "images")
    assert (code, capsys.readouterr().err.count("1 target\n")) == (0, 3)
    table.encode()
    records = {json.loads(p.read_text())["image"]["file"] for p in tmp_path.glob("out/*.json")}
    shown = ("odd\\udcff.png", "two\\nlines.png", "straße\\x1b[31m.png")
    assert records == {f"{tmp_path}/images/{name}" for name in shown}


def test_images_that_are_padded_are_told_on_the_terminal_in_the_record_and_in_the_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = write_image(tmp_path / "a" / "plain.png", 150)
    padded = write_image(tmp_path / "a" / "padded.png", 150, (48, 20))
    assert run(tmp_path, plain, padded)[0] == 1
    assert json.loads((tmp_path / "out" / "padded.json").read_text())["error"] == (
        f"{padded}: the program takes 32×48, the model's own inference makes this image 20×48;"
        " compile for any size (LRPC.DYNAMIC true) or for this one (LRPC.SHAPES '[[20,48]]'), or"
        " have it padded (--pad)"
    )
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert run(tmp_path, plain, padded, "--pad")[0] == 0
    lines = capsys.readouterr().err.splitlines()
    change = "padded to 32×48; the model's own inference takes 20×48"
    assert lines[:2] == [f"{plain}: 1 target", f"{padded}: 1 target"]
    assert lines[2:] == [
        "warning: 1 of 2 images are explained otherwise than the model's own inference sees them:"
        f" 1 padded (padded.png: {change}); compile for LRPC.SHAPES '[[20,48]]'"
    ]
    told = {
        n: json.loads((tmp_path / "out" / f"{n}.json").read_text()) for n in ("plain", "padded")
    }
    assert {name: one["image"]["changed"] for name, one in told.items()} == {
        "plain": None,
        "padded": change,
    }
    alarmed, hatched = {}, {}
    for name, one in told.items():
        with Image.open(tmp_path / "out" / one["targets"][0]["files"]["panel"]) as panel:
            pixels = np.asarray(panel)
        alarmed[name] = bool((pixels == draw.ALARM).all(axis=-1).any())
        lines_in = (pixels == draw.SOFT).all(axis=-1).mean(axis=1)  # of each row
        hatched[name] = bool(lines_in[3 * len(pixels) // 5 : -len(pixels) // 5].min() > 0)
    assert alarmed == hatched == {"plain": False, "padded": True}


def test_a_waterfall_is_refused_before_anything_where_it_cannot_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(tmp_path / "none"), "--images", str(tmp_path), "-o", str(tmp_path / "out")]
    assert main([*words, "--waterfall", "--no-ledger"]) == 2
    assert "--waterfall shows the ledger: leave --no-ledger out" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([*words, "--waterfall"]) == 2
    assert "figures need matplotlib: pip install 'lrpc[evaluate]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
