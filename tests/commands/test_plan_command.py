"""`lrpc plan`: its tables, its picture, and its refusals."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import lrpc
from lrpc.backend.memory.log import Storage
from lrpc.backend.memory.run import Model, Timeline
from lrpc.cli import main
from lrpc.commands.plan.dotted import breaks
from lrpc.commands.plan.figures import alive, by_part, columns, layers
from lrpc.commands.session.units import shortened, size
from lrpc.program.memory_of import open_model
from tests.support.tiny import tiny

BLUE = (0x2F, 0x6F, 0xDB)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, x = tiny()
    path: Path = tmp_path_factory.mktemp("plan") / "tiny"
    lrpc.compile(model, (x,), composite=["attnlrp", "gamma"]).save(path)
    return path


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def printed(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["plan", *map(str, words)]) == code
    said = capsys.readouterr()
    return said.err if code else said.out


def test_tables(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((program / "manifest.json").read_text())
    plan = manifest["plan"]["targets"]["output"]
    text = printed(capsys, program)
    (row,) = [line.split() for line in text.splitlines() if line.startswith(" output (attnlrp)")]
    assert " ".join(row).endswith(size(plan["planned_peak"]))
    assert "linear2" in text
    assert size(plan["saved"]["linear2"]) in text
    one, many = (printed(capsys, program, "--batch", b, "--seeds", b) for b in (1, 3))
    assert one == text != many
    assert "output (gamma)" in printed(capsys, program, "--composite", "gamma")


def test_one_target_alone_is_simulated(
    program: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated: list[str] = []
    timeline = Model.timeline

    def seen(model: Model, target: int, *rest: Any) -> Timeline:
        simulated.append(model.codes[target].composite)
        return timeline(model, target, *rest)

    monkeypatch.setattr(Model, "timeline", seen)
    text = printed(capsys, program, "--target", "output", "--composite", "gamma")
    assert simulated == ["gamma"]
    assert "output (gamma)" in text


def test_a_target_is_simulated_as_the_program_runs_it(program: Path) -> None:
    """Not alone: ends that targets share may hold more."""
    model = open_model(program)
    assert model.part(0) is model.schedule


def test_why_values_are_saved(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, program, "--saved")
    lines = text.splitlines()
    (row,) = [i for i, line in enumerate(lines) if "%linear2 " in line]
    assert "model: epsilon (add)" in lines[row]  # a sum that is not saved itself
    assert "linear2: epsilon (stab_mul)" in lines[row + 1]
    (line,) = [line for line in text.splitlines() if "%images " in line]
    assert "input" in line
    capsys.readouterr()
    assert main(["show", str(program), "--saved", "--module", "linear*"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert any("%linear2 " in row and "model: epsilon (add)" in row for row in rows)
    assert any("linear2: epsilon (stab_mul)" in row for row in rows)
    assert main(["show", str(program / "graph.lrp"), "--saved"]) == 2


def test_the_picture(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, program, "--svg", tmp_path / "p.svg", "--png", tmp_path / "p.png")
    drawing = ET.parse(tmp_path / "p.svg").getroot()
    texts = [e.text for e in drawing.iter() if e.tag.endswith("text")]
    assert "tiny: output (attnlrp)" in texts
    assert "linear2" in texts
    titles = [e.text or "" for e in drawing.iter() if e.tag.endswith("title")]
    assert any(title.startswith("linear2 ") for title in titles)  # saved, so alive at the peak
    image = Image.open(tmp_path / "p.png")
    assert image.width == 2 * int(float(drawing.attrib["width"]))
    assert BLUE in {colour for _, colour in image.getcolors(1 << 24)}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "outptu"], "--target outptu (perhaps output): the program has output"),
        (["--composite", "epsilon"], "--composite epsilon: the program has attnlrp, gamma"),
        (["--svg", "/nowhere/p.svg"], "/nowhere/p.svg: cannot be written"),
    ],
)
def test_refusals(
    program: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in printed(capsys, program, *words, code=2)


def test_no_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "manifest.json is missing" in printed(capsys, tmp_path, code=2)


def test_figures() -> None:
    storages = (
        Storage(8, 0, 4, "state", "a", "layers.0.norm", "add"),
        Storage(5, 1, 2, "value", "b", "layers.0", "mul"),
        Storage(9, 3, 4, "adjoint", "c", "layers.1", "mul"),
    )
    timeline = Timeline(storages, 2, ("layers.0", "layers.0.norm", "", "layers.1"))
    assert timeline.live == [8, 13, 8, 17]
    assert (timeline.forward_peak, timeline.relevance_peak, timeline.state) == (13, 9, 8)
    assert by_part(timeline) == {
        "state": [8] * 4, "value": [0, 5, 0, 0], "adjoint": [0, 0, 0, 9],
    }  # fmt: skip
    assert [s.name for s in alive(timeline, 3)] == ["c", "a"]
    assert columns(timeline.live, 2) == [1, 3]
    assert columns(timeline.live, 4) == [0, 1, 2, 3]
    assert layers(timeline.modules) == [("layers.0", 0, 3), ("layers.1", 3, 4)]


def test_sizes_and_names() -> None:
    assert [size(n) for n in (0, 999, 1000, 45_600, 123_456_789, 2e9)] == [
        "0 B", "999 B", "1.00 kB", "45.6 kB", "123 MB", "2.00 GB",
    ]  # fmt: skip
    assert shortened("encoder.layers.0.norm", 30) == "encoder.layers.0.norm"
    assert shortened("encoder.layers.0.norm", 12) == "…0.norm"


@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=9), st.integers(1, 30))
def test_lines_break_where_a_part_of_a_path_ends(parts: list[str], width: int) -> None:
    path = ".".join(parts)
    edges = [0, *breaks(path, width), len(path)]
    lines = [path[a:b] for a, b in pairwise(edges)]
    assert "".join(lines) == path
    assert all(0 < len(line) <= width for line in lines)
    fits = width > max(map(len, parts))  # a part with its dot
    assert not fits or all(line.endswith(".") for line in lines[:-1])


def test_no_word_is_broken_in_eighty_columns(
    program: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for words in ([], ["--saved"]):
        text = printed(capsys, program, *words)
        assert max(map(len, text.splitlines())) <= 80
        for name in ("linear2", "linear1"):
            assert name in text
