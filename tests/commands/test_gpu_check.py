"""tools/gpu_check.py: its parts at tiny sizes on the CPU, what fails in them, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.runtime.test_load_capture import Recorder
from tools.bench.offered import Compiler, configuration
from tools.gpu import checks, command, kernels, loaded, parts, prepared, records, times
from tools.gpu.children import Part, run_all
from tools.gpu.clock import Clock
from tools.gpu.parts import Asked
from tools.gpu.records import FAILED, OK, SKIPPED, Record, Records, SkippedError

ROOT = Path(__file__).parents[2]
TARGET = ("attnlrp", "output")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny program and the one with a budget."""
    folder = tmp_path_factory.mktemp("gpu") / "programs"
    folder.mkdir()
    for job in prepared.jobs(folder, True)[:2]:
        job.make()
    prepared.stamp(folder)
    return folder


def done(name: str, store: Path, place: Path) -> dict[str, Record]:
    """The records of a part, by name."""
    assert parts.run(name, place / "found.jsonl", Asked(store, "cpu", True, 600.0)) == 0
    return {record.name: record for record in records.read(place / "found.jsonl")}


# -- what is checked -------------------------------------------------------------------------------


def test_a_right_program(store: Path, tmp_path: Path) -> None:
    found = done("checks:deformable", store, tmp_path)
    assert {r.name: r.note for r in found.values() if r.status == FAILED} == {}
    held = [name for name, r in found.items() if r.limit is not None]
    for composite in ("attnlrp", "cp_lrp"):
        for what in ("relevance beside the CPU's", "ledger"):
            assert f"output, {composite}: {what}" in held
        assert f"output, {composite}: peak over the plan, 2 image(s), 4 seed(s)" in held
        assert f"compile: output, {composite}: ledger" in held
    assert "budget: 3 image(s), 2 of 4 seed(s)" in held
    assert found["capture"].status == SKIPPED
    assert found["capture"].note == "CUDA graphs need a GPU"


def test_wrong_programs_fail_and_the_rest_goes_on(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the device relevance is too large, a ledger is open, and much memory is taken."""
    first, plain = [], loaded.Loaded.relevance

    def wrong(self: Any, *given: Any, **options: Any) -> Any:
        first.append(self)
        result = plain(self, *given, **options)
        if self is first[0]:
            result.inputs = {k: 1.1 * v for k, v in result.inputs.items()}
            torch.empty(2_000_000)
            if result.ledger is not None:
                result.ledger.start = 2 * result.ledger.start
        return result

    monkeypatch.setattr(loaded.Loaded, "relevance", wrong)
    monkeypatch.setattr(checks, "LOADINGS", ())
    found = done("checks:deformable", store, tmp_path)
    for what in ("relevance beside the CPU's", "ledger"):
        assert found[f"output, attnlrp: {what}"].status == FAILED
    assert found["output, cp_lrp: relevance beside the CPU's"].value == pytest.approx(0.1)
    assert found["output, attnlrp: peak over the plan, 1 image(s), 1 seed(s)"].status == FAILED
    assert found["outputs beside the CPU's"].status == OK
    assert found["budget: 1 image(s), 1 of 1 seed(s)"].status == OK


def test_recordings_are_checked(store: Path, tmp_path: Path) -> None:
    """As on a GPU; a stand-in records. What it replays wrongly is found."""
    made, other = (loaded.load(store / "deformable", "cpu") for _ in range(2))
    plain = other.module.Calls()
    recorder = Recorder(other.program.weights)
    other.program.calls = other.module.Captured(plain, recorder)
    asked = (Records(tmp_path / "found.jsonl", "checks"), store, "cpu", True, Clock(1e99))
    checks.Checks(*asked)._loaded("capture", made, other, TARGET, 3)
    found = records.read(tmp_path / "found.jsonl")
    assert [r.status for r in found] == [OK, OK, OK]
    assert (recorder.recorded, recorder.replayed) == (3, 4)  # the second forward has its recording

    class Stuck(Recorder):
        def __call__(self, call: Any, /) -> Any:
            result = call()
            return result, lambda: None  # replays nothing: the first input's for ever

    other.program.calls = other.module.Captured(plain, Stuck(other.program.weights))
    checks.Checks(*asked)._loaded("capture", made, other, TARGET, 3)
    *_, outputs, relevance = records.read(tmp_path / "found.jsonl")
    assert outputs.name == "capture: output, attnlrp: outputs beside the program as written"
    assert (outputs.status, relevance.status) == (FAILED, FAILED)
    assert outputs.value is not None
    assert outputs.value > 0.1
    assert relevance.note.startswith("80 of 80 entries of the outputs are others; first calls")


def test_wrong_kernels_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch.ones(3)
    monkeypatch.setattr(kernels, "stabilised", lambda *given: (right + 1e-3, right))
    monkeypatch.setattr(
        kernels, "compared", lambda m: [("sample", right, right), ("splat", right * 2, right)]
    )
    kernels.run(Records(tmp_path / "found.jsonl", "kernels"), True, Clock(1e99))
    found = {r.name: (r.status, r.value) for r in records.read(tmp_path / "found.jsonl")}
    assert found["sample: tiny, float32"] == (OK, 0.0)
    assert found["splat: tiny, float32"] == (FAILED, 1.0)
    assert found["stabilised ratio: [3, 5], float32"][0] == FAILED


def test_times(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "LOADINGS", ("capture",))
    found = done("times:deformable", store, tmp_path)
    assert not [r for r in found.values() if r.status == FAILED]
    assert found["the model"].note == (
        "compiled from Python: its directory does not say how to build the model"
    )
    for what in ("forward and relevance", "relevance of 4 seeds", "relevance and ledger"):
        assert found[f"output, cp_lrp: {what}"].value
    assert found["forward"].kind == "seconds"
    assert found["capture"].status == SKIPPED


def test_what_would_not_end_in_time_is_not_begun() -> None:
    clock = Clock(time.perf_counter() + 60.0)
    with clock.one("short"):
        pass
    clock.longest["long"] = 61.0
    with clock.one("short"):
        pass
    with pytest.raises(SkippedError, match="no time was left"), clock.one("long"):
        raise AssertionError("begun")


# -- processes and their ends ----------------------------------------------------------------------


def script(folder: Path, name: str, text: str, limit_s: float = 60.0) -> Part:
    """A part that runs `text`, which finds its file of records in `path`."""
    place = folder / f"{name}.jsonl"
    line = f"import json, sys, time; path = {str(place)!r}\n"
    line += "def ok(name): print(json.dumps({'part': '', 'name': name}), file=open(path, 'a'))\n"
    log = place.with_suffix(".log")
    return Part(name, [sys.executable, "-S", "-c", line + text], limit_s, place, log)


def test_parts_that_crash_or_hang_keep_what_they_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    asked = [
        script(tmp_path, "right", "ok('all')"),
        script(tmp_path, "crashes", "ok('a'); open(path, 'a').write('{\"pa'); sys.exit('broke')"),
        script(tmp_path, "hangs", "ok('b'); time.sleep(60)", limit_s=1.0),
    ]
    begin = time.perf_counter()
    found = {one.part.name: one for one in run_all(asked, 2, begin + 60.0, told.append)}
    assert time.perf_counter() - begin < 30
    assert not found["right"].failed
    assert found["crashes"].trouble == "exit code 1: broke"
    assert [r.name for r in found["crashes"].records] == ["a"]
    assert found["hangs"].trouble == "ended after 1 s, its limit"
    assert [r.name for r in found["hangs"].records] == ["b"]
    run = command.Run(True, tmp_path, tmp_path, (), 0.0, 1, list(found.values()))
    assert command.report(run, tmp_path / "all.json") == 1
    data = json.loads((tmp_path / "all.json").read_text())
    assert {p["name"]: p["trouble"] for p in data["parts"]} == {
        "right": "", "crashes": "exit code 1: broke", "hangs": "ended after 1 s, its limit"
    }  # fmt: skip
    assert "all parts" in capsys.readouterr().out
    (late,) = run_all([script(tmp_path, "late", "ok('c')")], 1, begin, told.append)
    assert late.failed
    assert late.trouble == "no time was left for it"


def test_failures_are_listed(tmp_path: Path) -> None:
    found = Records(tmp_path / "x.jsonl", "x")
    found.limited("peak", 3e6, 2e6, "bytes", "of forward")
    found.limited("error", float("nan"), 1.0, "error")
    with found.checking("call"):
        raise RuntimeError("CUDA error: misaligned address\nand more")
    part = script(tmp_path, "x", "")
    sheet = command.summary([command.Ended(part, 1.0, records.read(found.path))])
    assert sheet.rows == [["x", "1 s", "0", "3", "0", ""]]
    assert sheet.notes == [
        "x: peak: 3.00 MB, at most 2.00 MB; of forward",
        "x: error: nan",
        "x: call: RuntimeError: CUDA error: misaligned address",
    ]


# -- the command and its programs ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "torch sees no GPU here; --tiny runs on the CPU"),
        (["--tiny", "--parts", "kernel"], "--parts kernel: there are kernels, tests, checks"),
        (["--tiny", "--programs", "tests"], "tests: holds no programs of --prepare; run it first"),
    ],
)
def test_refusals(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(ROOT)
    assert command.main(words) == 2
    assert said in capsys.readouterr().err


def test_what_compiling_needs_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(command.PACKAGES, "no_such_module", "its-package")
    assert command.main(["--tiny", "--parts", "checks"]) == 2
    assert capsys.readouterr().err == (
        "error: programs cannot be compiled here without its-package; give --programs,"
        " or --parts kernels,tests\n"
    )


def test_programs_of_other_sources_are_refused(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "origin", lambda: {"sources": "another"})
    assert command.main(["--tiny", "--programs", str(store)]) == 2
    assert "the programs were compiled by other sources; prepare them" in capsys.readouterr().err


def test_programs_are_taken_from_a_folder(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = next(job for job in prepared.jobs(store, True) if job.name == "encoder cp_lrp fp32")
    job.make()
    monkeypatch.setitem(sys.modules, "lrpc.compiler", None)  # cannot be imported
    options = prepared.options_of("cpu", True, store)
    assert [one.name for one in options.ways(True)] == ["fp32"]
    made: Compiler = prepared.case_encoder.compiler_of(
        prepared.chosen(options.levels, True), options
    )
    assert made.program("cp_lrp", configuration("fp32"), "cpu").directory.parent == store
    with pytest.raises(Exception, match=r"not compiled before, and lrpc\.compiler, which"):
        made.program("attnlrp", configuration("fp32"), "cpu")


def test_equal_weights_are_kept_once(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "programs"
    subprocess.run(["cp", "-r", str(store), str(folder)], check=True)
    prepared.share_weights(folder)
    assert len(list((folder / "weights").iterdir())) == 1
    before, after = (loaded.load(path / "deformable", "cpu") for path in (store, folder))
    assert torch.equal(before.forward().outputs, after.forward().outputs)


def test_short_tables_run_the_first_composite_in_every_way(tmp_path: Path) -> None:
    options = prepared.options_of("cuda", False, tmp_path)
    assert len(options.ways(True)) == len(prepared.WAYS)
    assert [one.name for one in options.ways(False)] == ["tf32"]
    assert replace(options, short=False).ways(False) == options.ways(True)


@pytest.mark.slow
def test_all_of_it(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command_ = [sys.executable, str(ROOT / "tools" / "gpu_check.py"), "--tiny", "--json", str(out)]
    found = subprocess.run(command_, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-1000:]
    data = json.loads(out.read_text())
    assert {"kernels", "checks:deformable", "times:deformable"} < {p["name"] for p in data["parts"]}
    assert data["cases"].keys() == {"encoder", "vit", "sampling"}
    assert all(p["trouble"] == "" for p in data["parts"])
    assert "all parts" in found.stdout
