"""tools/bench: its options, its files, and the page that is written from them."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lrpc.compiler
from lrpc.commands.bench import store
from lrpc.commands.bench.tables import duration, spanned
from lrpc.commands.bench.timing import Spread
from lrpc.commands.session.units import size
from lrpc.errors import ProgramError
from tools.bench import case_checkpoint, case_encoder, case_sampling, command, page
from tools.bench.contest import Ready, Row
from tools.bench.encoder import Layout
from tools.bench.growth import halved
from tools.bench.growth_plot import digest
from tools.bench.settings import CPU, QUICK, Options

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def run(*words: object) -> int:
    return command.main([str(word) for word in words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cases", "encoder,vti"], "--cases vti: there are encoder, vit, compile"),
        (["--levels", "10,x"], "--levels 10,x: expected sides such as 100,50,25"),
        (["--batch", "0"], "--batch 0: expected a number from 1"),
        (["--composites", "flat"], "--composites flat: checked here are gradient_input, attnlrp"),
        (["--growth", "--cases", "vit"], "give --growth or --cases, and not both"),
        (["--device", "cuda"], "--device cuda: torch sees no GPU here"),
        (["--json", "README.md"], "README.md: cannot be read"),
        (["--json", "constraints.json"], "not a file of tools/bench --json"),
    ],
)
def test_refusals(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setattr(command.torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    Path("README.md").write_text("# text\n")
    Path("constraints.json").write_text("[1]\n")
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


BARE = """
import builtins, runpy, sys
real = builtins.__import__
def bare(name, *rest, **options):
    if name.split(".")[0] in ("rich", "PIL", "matplotlib", "scipy"):
        raise ImportError(name)
    return real(name, *rest, **options)
builtins.__import__ = bare
sys.argv = ["bench.py", "--quick", "--cases", "sampling,encoder", "--levels", "4,2", "--seeds", "1",
            "--composites", "cp_lrp", "--ways", "fp32", "--json", "figures.json"]
runpy.run_path(TOOL, run_name="__main__")
"""


def test_a_checkout_on_a_bare_machine(tmp_path: Path) -> None:
    """torch and what compiling imports are enough, lrpc need not be installed; tables are Markdown
    where rich is missing."""
    script = BARE.replace("TOOL", repr(str(ROOT / "tools" / "bench")))
    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert "Traceback" not in found.stderr
    assert "| splat by gather, entries sorted |" in found.stdout
    assert "| program, cp_lrp, fp32 |" in found.stdout
    assert re.search(r"^- not here: autograd, compiled extension – Multi", found.stdout, re.M)
    cases = store.read(tmp_path / "figures.json")
    assert list(cases) == ["sampling", "encoder"]
    first, second = cases["sampling"]["tables"]
    assert "20 queries" in first["title"]
    for row in first["rows"] + second["rows"]:
        assert row["status"] == "measured"
        assert row["error"] < 1e-5
        assert row["time"]["low"] <= row["time"]["median"] <= row["time"]["high"]
        assert row["peak"] > 0
    assert cases["sampling"]["machine"]["threads"] == 1


def test_the_encoder_case_and_another_program(tmp_path: Path) -> None:
    """Programs of both composites, one seed and several; a stored program is timed beside them."""
    kept = tmp_path / "kept"
    levels = ((4, 4), (2, 2))
    chosen: dict[str, Any] = {**QUICK, "levels": levels, "composites": ("cp_lrp",), "quick": True}
    options = Options("cpu", **chosen, save=kept, tell=lambda _: None)
    _, several = case_encoder.run(options)["tables"]
    assert "of 2 seeds" in several["title"]
    assert {row["status"] for row in several["rows"]} == {"measured", "absent"}
    assert (kept / "program.py").is_file()
    chosen["seeds"] = 1
    options = Options("cpu", **chosen, against=kept, tell=lambda _: None)
    found = case_encoder.run(options)
    (one,) = found["tables"]
    rows = {row["name"]: row for row in one["rows"]}
    assert rows["program, cp_lrp, fp32"]["status"] == "measured"
    assert rows[f"program in {kept}"]["error"] == rows["program, cp_lrp, fp32"]["error"]
    assert rows["program, cp_lrp, fp32"]["floor"] > 0
    assert rows["autograd, compiled extension"]["status"] == "absent"
    assert found["ceilings"]["matmul_flops"] > 1e8


def test_goals_hold_at_the_sizes_that_they_were_set_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a table for B=8 and one for 32 seeds; what was faster in bf16 does not count for tf32."""
    monkeypatch.setattr(Options, "gpu_name", "NVIDIA H200")
    rows = [
        timed("batch", "encoder/tf32/cp_lrp", 0.015),
        timed("half", "encoder/bf16/cp_lrp", 0.008),
        timed("seeds", "encoder/seeds/cp_lrp", 0.050),
    ]

    def works(batch: int, seeds: int, side: int = 100) -> list[tuple[str, bool]]:
        layout = Layout(halved(side))
        options = Options("cuda", batch=batch, seeds=seeds, composites=("cp_lrp",))
        found = case_encoder._verdicts(rows, layout, options)
        return [(one["row"], one["reached"]) for one in found if one["kind"] == "seconds"]

    assert works(8, 32) == [("batch", True), ("half", True), ("seeds", False)]
    assert works(4, 32) == [("seeds", False)]
    assert works(8, 16) == [("batch", True), ("half", True)]
    assert works(8, 32, side=40) == []


def timed(name: str, goal: str, seconds: float) -> Row:
    return Row(name, True, goal, time=Spread(seconds, seconds, seconds, 1))


def test_budgets_are_asked_for_and_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that takes the options and ignores them: its programs exceed their budgets."""
    compile_, asked = lrpc.compiler.compile, []

    def takes(model: Any, args: Any, *, checkpoint: str = "", budget: str = "", **more: Any) -> Any:
        asked.append((checkpoint, budget))
        return compile_(model, args, **more)

    monkeypatch.setattr(lrpc.compiler, "compile", takes)
    options = Options(
        "cpu", **{**QUICK, "levels": ((4, 4), (2, 2))}, quick=True, tell=lambda _: None
    )
    found = case_checkpoint.run(options)
    assert asked == [("", ""), ("block", ""), ("auto", "75%"), ("auto", "50%"), ("auto", "35%")]
    rows = found["tables"][0]["rows"]
    assert [row["status"] for row in rows] == ["measured"] * 2 + ["wrong"] * 3
    assert rows[2]["note"] == "takes 100% of the peak: over its budget"


def test_a_wrong_program_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path that forgets a part: not timed, the rest is, and the exit code says so."""
    right = case_sampling.Op.gather

    def wrong(self: Any) -> Ready:
        ready = right(self)
        return Ready(lambda: ready.call() * 1.01)

    monkeypatch.setattr(case_sampling.Op, "gather", wrong)
    out = tmp_path / "f.json"
    assert run("--quick", "--cases", "sampling", "--levels", "4", "--json", out) == 1
    rows = json.loads(out.read_text())["cases"]["sampling"]["tables"][0]["rows"]
    assert [r["name"] for r in rows if r["time"] is None] == ["splat by gather, entries sorted"]
    assert "WRONG: splat by gather, entries sorted – differs by 1.0e-02" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_figures_say_where_memory_was_kept(tmp_path: Path) -> None:
    out = tmp_path / "f.json"
    for kept in (False, True):
        more = ["--keep-pages"] if kept else []
        args = ("--quick", "--cases", "sampling", "--levels", "4", "--json", out, *more)
        assert run(*args) == 0
        case = store.read(out)["sampling"]
        assert case["machine"]["keep_pages"] is kept
        assert ("; freed memory kept" in page.text_of({"x": {"sampling": case}})) is kept


def test_files_keep_other_cases(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    case = {"machine": {}, "settings": {}, "x": [1.23456789, float("inf"), 3]}
    store.write(path, {"a": case, "b": case})
    store.write(path, {"b": {**case, "x": []}})
    assert store.read(path) == {
        "a": {**case, "x": [1.23457, None, 3]}, "b": {**case, "x": []}
    }  # fmt: skip
    path.write_text('{"format": 1, "cases": {"a": {"machine": {}}}}')
    with pytest.raises(ProgramError, match="case a lacks settings"):
        store.read(path)


def test_words() -> None:
    assert [duration(t) for t in (2.345, 0.0123, 4.5e-5)] == ["2.35 s", "12.3 ms", "0.045 ms"]
    assert [size(n) for n in (12, 4_560, 7.89e6, 2.5e9)] == [
        "12 B",
        "4.56 kB",
        "7.89 MB",
        "2.50 GB",
    ]
    assert spanned({"median": 2e-3, "low": 1e-3, "high": 3e-3, "count": 5}) == "2 ms (1–3)"
    assert spanned({"median": 0.4, "low": 0.3, "high": 1.2, "count": 5}) == "400 ms (300–1200)"
    assert spanned({"median": 2.0, "low": 2.0, "high": 2.0, "count": 1}) == "2 s"
    assert command.levels_of("100x80,50") == ((100, 80), (50, 50))
    assert Layout(CPU["levels"]).tokens == 2_100


# -- the page --------------------------------------------------------------------------------------


def test_the_page_is_what_its_files_say() -> None:
    """docs/performance.md holds the tables of docs/performance/*.json, to the character."""
    text = (DOCS / "performance.md").read_text()
    found = page.measured(DOCS / "performance")
    assert found
    assert page.page(text, found) == text, "Run: python tools/bench --docs"
    measured = text.split(page.BEGIN)[1].split(page.END)[0]
    assert len(re.findall(r"^\| ", measured, re.M)) > 30


def test_the_picture_is_of_the_files() -> None:
    found = page.measured(DOCS / "performance")
    cases = {name: some["growth"] for name, some in found.items() if "growth" in some}
    assert digest(cases) in (DOCS / "images" / "growth.svg").read_text(), (
        "Run: python tools/bench --docs"
    )


def test_what_the_files_hold() -> None:
    """Nothing in them was wrong or failed; rows have errors under their limits. What a program is
    compared with may have none."""
    for cases in page.measured(DOCS / "performance").values():
        for case in cases.values():
            assert {"device", "threads", "torch", "lrpc"} <= case["machine"].keys()
            for table in case.get("tables", ()):
                for row in table["rows"]:
                    assert row["status"] in ("measured", "absent"), row["name"]
                    if row["status"] == "measured" and (row["ours"] or row["limit"] is not None):
                        assert row["error"] <= row["limit"]


def test_a_page_without_its_marks() -> None:
    with pytest.raises(ProgramError, match="the page needs one line"):
        page.page("# Performance\n", {})
    old = f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n"
    assert page.page(old, {}) == f"before\n{page.BEGIN}\n\n\n{page.END}\nafter\n"
