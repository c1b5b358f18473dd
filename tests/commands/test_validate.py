"""`lrpc validate` passes what `lrpc analyze` wrote and names every kind of damage."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrpc.cli import main
from lrpc.commands.analyze.metadata import sha256
from lrpc.commands.analyze.validate import checks
from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import DIGITS, Programs

Rows = list[dict[str, str]]
Damage = Callable[[Rows], None]


@pytest.fixture(scope="module")
def whole(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the contributions to two decoder queries, and with the images and program."""
    folder = tmp_path_factory.mktemp("validate")
    (folder / "images").mkdir()
    for name in ("02.png", "05.png"):
        shutil.copy(EXAMPLE / "scenes" / name, folder / "images")
    kept = ["--keep-program", str(folder / "program"), "--config", str(DIGITS)]
    kept += ["LRPC.SHAPES", "[[96, 96]]", "LRPC.DYNAMIC", "false"]
    asked = ["--which-module", "decoder", "--layer-index", "1", "--feature-index", "2,7"]
    asked += ["--target-norm", "sum1"]
    words = ["--images-dir", str(folder / "images"), "--output-csv", str(folder / "t.csv")]
    with programs.trace_of(DIGITS, SHAPES=[[96, 96]], DYNAMIC=False):
        assert main(["analyze", *words, *asked, "--batch-size", "2", "--device", "cpu", *kept]) == 0
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """The table and its sidecar, to be damaged."""
    for name in ("t.csv", "t.csv.json"):
        shutil.copy(whole / name, tmp_path)
    return tmp_path / "t.csv"


def failing(table: Path, **folders: Path) -> set[str]:
    return {check.what for check in checks(table, **folders) if not check.passed}


def rewrite(table: Path, damage: Damage) -> None:
    """Damage the rows, and make the sidecar's checksum fit again."""
    with table.open() as file:
        found = list(csv.DictReader(file))
    header = list(found[0])
    damage(found)
    text = io.StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    table.write_text(text.getvalue())
    edit(table, lambda about: about["table"].update(sha256=sha256(table.read_bytes())))


def edit(table: Path, change: Callable[[dict[str, Any]], object]) -> None:
    sidecar = table.with_name("t.csv.json")
    about = json.loads(sidecar.read_text())
    change(about)
    sidecar.write_text(json.dumps(about))


def put(name: str, value: str, row: int = 3) -> Damage:
    return lambda found: found[row].update({name: value})


def scaled(name: str, factor: float) -> Damage:
    def damage(found: Rows) -> None:
        for row in found:
            row[name] = repr(float(row[name]) * factor)

    return damage


def constant(found: Rows) -> None:
    total = sum(float(row["contribution"]) for row in found[:50])
    for row in found[:50]:
        row["contribution"] = repr(total / 50)


def all_zero(found: Rows) -> None:
    for row in found[:50]:
        row |= dict.fromkeys(("contribution", "mean_abs", "gross", "std", "share"), "0.0")


def test_what_analyze_wrote_passes(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, folders = whole / "t.csv", {"images": whole / "images", "program": whole / "program"}
    assert failing(table, **folders) == set()
    words = ["--images-dir", str(whole / "images"), "--program", str(whole / "program")]
    assert main(["validate", str(table), *words]) == 0
    said = capsys.readouterr().out
    assert "14 of 14 checks passed" in said
    assert "50 queries for 2 features" in said


def test_a_rewritten_copy_without_damage_passes(copy: Path) -> None:
    rewrite(copy, lambda found: None)
    assert failing(copy) == set()


@pytest.mark.parametrize(
    ("damage", "fails"),
    [
        (put("contribution", "nan"), {"finite"}),
        (put("contribution", ""), {"finite"}),
        (put("gross", "inf"), {"finite"}),
        (put("index", "3.5"), {"finite", "indices"}),
        (put("index", "4"), {"indices"}),
        (put("index", "50"), {"indices"}),
        (put("feature", "9"), {"count", "indices", "normalised"}),
        (lambda found: found.pop(3), {"count", "indices"}),
        (lambda found: found.append(found[3]), {"count", "indices"}),
        (lambda found: found.__delitem__(slice(50, 100)), {"count"}),
        (put("n_images", "3"), {"images"}),
        (scaled("contribution", 0.5), {"normalised"}),
        (scaled("contribution", -1.0), {"normalised"}),
        (scaled("share", 2.0), {"consistent"}),
        (scaled("mean_abs", 0.5), {"consistent"}),
        (scaled("std", -1.0), {"consistent"}),
        (constant, {"not constant"}),
        (all_zero, {"not constant"}),
    ],
)
def test_a_damaged_table_fails_the_check_of_that_damage(
    copy: Path, damage: Damage, fails: set[str]
) -> None:
    rewrite(copy, damage)
    found = failing(copy)
    assert fails <= found
    assert "unchanged since written" not in found
    assert main(["validate", str(copy)]) == 1


def test_an_edited_table_no_longer_fits_its_checksum(copy: Path) -> None:
    lines = copy.read_text().splitlines(keepends=True)
    copy.write_text("".join([*lines[:2], lines[2].replace(".", ".0", 1), *lines[3:]]))
    assert "unchanged since written" in failing(copy)
    copy.write_text("".join(lines) + "\n")
    assert main(["validate", str(copy)]) == 1


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        (lambda about: about["accounts"][0].update(start=2.0), {"start (sum1)", "normalised"}),
        (lambda about: about["accounts"][1]["sinks"].update(bias=9.0), {"normalised"}),
        (lambda about: about["accounts"][1].update(closure=0.1), {"ledger"}),
        (lambda about: about["accounts"].pop(), {"normalised"}),
        (lambda about: about["program"]["sha256"].pop("manifest.json"), {"provenance"}),
        (lambda about: about["rules"].pop("on_the_way"), {"provenance"}),
        (lambda about: about["images"][0].update(sha256=""), {"provenance"}),
        (lambda about: about["images"].pop(), {"images"}),
        (lambda about: about["request"].update(size=256), {"count", "indices"}),
        (lambda about: about.pop("request"), {"metadata file"}),
        (lambda about: about.update(format=99), {"metadata file"}),
    ],
)
def test_a_damaged_sidecar_fails(
    copy: Path, change: Callable[[dict[str, Any]], object], fails: set[str]
) -> None:
    edit(copy, change)
    assert fails <= failing(copy)


def test_a_table_alone_fails(copy: Path) -> None:
    copy.with_name("t.csv.json").unlink()
    assert failing(copy) == {"metadata file"}
    copy.with_name("t.csv.json").write_text("{")
    assert failing(copy) == {"metadata file"}


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "index,contribution\n0,1\n", "\0", "0.5\n0.25\n"]
)
def test_a_file_that_is_no_such_table_fails(copy: Path, text: str) -> None:
    copy.write_text(text)
    assert failing(copy) == {"table"}
    assert main(["validate", str(copy)]) == 1


def test_a_row_that_was_cut_fails(copy: Path) -> None:
    copy.write_text(copy.read_text()[:-30])
    assert failing(copy) in ({"table"}, {"unchanged since written", "normalised", "consistent"})


def test_other_images_and_another_program_fail(copy: Path, whole: Path, tmp_path: Path) -> None:
    images, program = tmp_path / "images", tmp_path / "program"
    shutil.copytree(whole / "images", images)
    shutil.copytree(whole / "program", program)
    shutil.copy(images / "02.png", images / "05.png")
    manifest = program / "manifest.json"
    manifest.write_text(manifest.read_text() + " ")
    assert failing(copy, images=images, program=program) == {"image files", "program"}


def test_no_table_at_all_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    assert main(["validate", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"error: {path}: no such file; `lrpc analyze --output-csv {path}` makes one\n"
    )
