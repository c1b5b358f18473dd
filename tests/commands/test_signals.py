"""SIGINT and SIGTERM end commands with a summary, with whole files, and with a way to go on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lrpc.cli import main
from lrpc.commands.session import record, runner
from lrpc.support.signals import Stopped, finishing, stoppable
from tests.support.run_fakes import write_image, write_program

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])

STOPPING = """\
import os, signal, torch
from tests.support.run_fakes import FakeProgram

class Stopping(FakeProgram):
    def forward(self, images, *more):
        mark = os.environ.get("STOP_AT")
        if mark is not None and bool((images[:, 2, 0, 0] == float(mark)).any()):
            os.kill(os.getpid(), int(os.environ["STOP_WITH"]))
        return super().forward(images, *more)

def load(device):
    return Stopping()
"""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Calls a command on four images; the program stops it with a signal at the third."""
    folder = write_program(tmp_path / "DIR")
    (folder / "program.py").write_text(STOPPING)
    other = write_program(tmp_path / "OTHER")
    (other / "program.py").write_text(STOPPING)
    for n in range(4):
        write_image(tmp_path / "images" / f"{n}.png", 150)
    (tmp_path / "images" / "2.png").unlink()
    Image.new("RGB", (48, 32), (150, 40, 77)).save(tmp_path / "images" / "2.png")

    def run(command: str, *options: str, stop: signal.Signals | None = None) -> int:
        monkeypatch.delenv("STOP_AT", raising=False)
        if stop is not None:
            monkeypatch.setenv("STOP_AT", "77")
            monkeypatch.setenv("STOP_WITH", str(int(stop)))
        images = ["--images", str(tmp_path / "images")]
        return main([command, *options, *images, "-o", str(tmp_path / "out"), "--device", "cpu"])

    return run


def names(folder: Path, ending: str) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(ending))


@BOTH
def test_run_ends_with_what_is_done_and_goes_on_from_there(
    tmp_path: Path,
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    program = str(tmp_path / "DIR")
    assert call("run", program, stop=number) == 128 + number
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == (
        f"stopped by {number.name}: 2 images done, 2 left;"
        " the same command with --resume explains the rest"
    )
    assert "2 images to" in said.out
    out = tmp_path / "out"
    assert names(out, ".json") == ["0.json", "1.json"]
    assert names(out, ".part") == []
    before = (out / "0.json").stat().st_mtime_ns
    assert call("run", program, "--resume") == 0
    assert capsys.readouterr().err.count("explained before") == 2
    assert names(out, ".json") == ["0.json", "1.json", "2.json", "3.json"]
    assert (out / "0.json").stat().st_mtime_ns == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_resume_explains_again_what_was_asked_otherwise_or_failed(
    tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    program = str(tmp_path / "DIR")
    (tmp_path / "images" / "1.png").write_text("no image")
    assert call("run", program) == 1
    next((tmp_path / "out").glob("0.*.panel.png")).unlink()
    capsys.readouterr()
    assert call("run", program, "--resume") == 1
    assert capsys.readouterr().err.count("explained before") == 2  # neither 0 nor 1
    assert call("run", program, "--resume", "--top", "1") == 1
    assert "explained before" not in capsys.readouterr().err


def test_an_image_whose_files_are_being_written_is_ended(
    tmp_path: Path, call: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(path: Path, told: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        record.write_json(path, told)

    monkeypatch.setattr(runner, "write_json", stopped)
    assert call("run", str(tmp_path / "DIR")) == 143
    told = json.loads((tmp_path / "out" / "0.json").read_text())
    assert len(names(tmp_path / "out", ".png")) == 3 * len(told["targets"]) == 3
    assert names(tmp_path / "out", ".json") == ["0.json"]


@BOTH
def test_compare_ends_with_what_is_done(
    tmp_path: Path,
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    programs = [str(tmp_path / name) for name in ("DIR", "OTHER")]
    assert call("compare", *programs, stop=number) == 128 + number
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"stopped by {number.name}: 2 images done, 2 left; ")
    told = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert (told["stopped_by"], told["images_left"], len(told["images"])) == (number.name, 2, 2)
    assert names(tmp_path / "out", ".part") == []
    assert last.endswith("; the same command with --resume compares the rest")
    first = (tmp_path / "out" / told["images"][0]["targets"][0]["file"]).stat().st_mtime_ns
    assert call("compare", *programs, "--resume") == 0
    assert capsys.readouterr().err.count("compared before") == 2
    whole = (tmp_path / "out" / "comparison.json").read_bytes()
    assert (json.loads(whole)["stopped_by"], len(json.loads(whole)["images"])) == (None, 4)
    picture = tmp_path / "out" / told["images"][0]["targets"][0]["file"]
    assert picture.stat().st_mtime_ns == first
    picture.unlink()
    assert call("compare", *programs, "--resume") == 0
    assert capsys.readouterr().err.count("compared before") == 3
    assert call("compare", *programs, "--resume", "--top", "1") == 0
    assert "compared before" not in capsys.readouterr().err
    assert call("compare", *programs) == 0
    assert (tmp_path / "out" / "comparison.json").read_bytes() == whole


def in_a_step(done: list[str], *numbers: signal.Signals) -> None:
    with finishing():
        for number in numbers:
            signal.raise_signal(number)
        done.append("ended")
    done.append("next")


def swallowed(done: list[str]) -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except Stopped:
        done.append("swallowed")  # by code of others
    in_a_step(done)


def test_what_is_begun_is_ended_unless_told_twice() -> None:
    cases: list[tuple[Callable[[list[str]], None], list[str]]] = [
        (lambda done: in_a_step(done, signal.SIGTERM), ["ended"]),
        (lambda done: in_a_step(done, signal.SIGTERM, signal.SIGTERM), []),
        (swallowed, ["swallowed", "ended"]),
    ]
    for work, expected in cases:
        done: list[str] = []
        with pytest.raises(Stopped), stoppable():
            work(done)
        assert done == expected


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as after nohup
    try:
        with stoppable():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@BOTH
def test_any_command_that_is_stopped_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    monkeypatch.setattr("lrpc.commands.rules.show_all", lambda console: signal.raise_signal(number))
    assert main(["rules"]) == 128 + number
    assert capsys.readouterr().err == f"stopped by {number.name}\n"
