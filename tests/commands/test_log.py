"""`--log` and `-v`: what is kept of a command, whatever ends it."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from lrpc.cli import main
from lrpc.commands.run import runner
from lrpc.support.ending import Output
from lrpc.support.log import LOG, SAID, logged, said, step
from tests.support.run_fakes import write_image, write_program

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (INFO|WARNING|ERROR|CRITICAL) +(.*)")


def lines(path: Path) -> list[tuple[str, str]]:
    """Level and text of each line; every one has the form that the docs state."""
    found = [LINE.fullmatch(line) for line in path.read_text().splitlines()]
    assert all(found), path.read_text()
    return [(one[1], one[2]) for one in found if one]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """`lrpc run` on two images, of which one is none."""
    write_program(tmp_path / "DIR")
    write_image(tmp_path / "images" / "0.png", 150)
    (tmp_path / "images" / "1.png").write_text("no image")
    where = ["--images", str(tmp_path / "images"), "-o", str(tmp_path / "out")]
    return ["run", str(tmp_path / "DIR"), *where, "--device", "cpu"]


def test_a_log_has_the_command_versions_images_failures_and_the_end(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    plain = capsys.readouterr()
    log = tmp_path / "log.txt"
    assert main([*words, "--log", str(log)]) == 1
    with_log = capsys.readouterr()
    assert plain == with_log  # the terminal is as without it
    told = lines(log)
    assert told[0] == ("INFO", f"command: lrpc {' '.join(words)} --log {log}")
    assert any(text.startswith("versions: lrpc 0.1.0, Python 3") for _, text in told)
    assert any(re.fullmatch(r"load .*DIR on cpu: \d+\.\d\d s", text) for _, text in told)
    assert any(re.fullmatch(r"compute 0\.png: \d+\.\d\d s", text) for _, text in told)
    assert any(level == "INFO" and re.search(r"0\.png: 1 target$", t) for level, t in told)
    (error,) = [text for level, text in told if level == "ERROR"]
    assert "1.png" in error
    assert "image" in error
    assert any("1 failed" in text for _, text in told)  # the closing table
    assert told[-1] == ("INFO", "ended with exit code 1")
    assert LOG.level == logging.NOTSET
    assert main(["--log", str(log), *words]) == 1  # before the command as well
    assert lines(log)[: len(told)] == told  # added to, not begun again
    assert len(lines(log)) == 2 * len(told)


def test_verbose_tells_steps_on_standard_error(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "-v"]) == 1
    said_now = capsys.readouterr()
    assert re.search(r"^load .*DIR on cpu: \d+\.\d\d s$", said_now.err, re.MULTILINE)
    assert re.search(r"^store 0\.png: \d+\.\d\d s$", said_now.err, re.MULTILINE)
    assert said_now.err.count("0.png: 1 target") == 1
    assert "load" not in said_now.out


def test_a_file_that_cannot_be_written_ends_the_command_before_it_begins(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for path, why in ((tmp_path / "no" / "log", "no such file"), (tmp_path, "is a directory")):
        assert main([*words, "--log", str(path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: --log {path}: cannot be written ({why}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_in_the_log(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    write_image(tmp_path / "images" / "1.png", 150)
    write = runner.write_json

    def stopped(path: Path, told: object) -> None:
        os.kill(os.getpid(), number)
        write(path, told)

    monkeypatch.setattr(runner, "write_json", stopped)
    assert main([*words, "--log", str(tmp_path / "log")]) == 128 + number
    told = lines(tmp_path / "log")
    assert told[-2][0] == "ERROR"
    assert told[-2][1].startswith(f"stopped by {number.name}: 1 image done, 1 left")
    assert told[-1] == ("INFO", f"ended with exit code {128 + number}")


KILLED = """\
import os, signal, sys
from pathlib import Path
from lrpc.support.log import LOG, logged

with logged(Path(sys.argv[1]), False, ["run", "a b"]):
    LOG.info("0.png: 1 target")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_9_loses_no_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = subprocess.run([sys.executable, "-c", KILLED, str(log)], check=False)
    assert done.returncode == -signal.SIGKILL
    told = lines(log)
    assert told[0][1] == "command: lrpc run 'a b'"
    assert told[-1] == ("INFO", "0.png: 1 target")


def test_warnings_names_and_unexpected_errors(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def fails() -> None:
        with logged(log, False, []):
            warnings.warn("out of memory: goes on", RuntimeWarning, stacklevel=1)
            LOG.info("a\n2026-01-01 00:00:00.000 INFO     forged\x1b[31m")
            said("seen", "yellow")
            raise KeyError("bug")

    with pytest.raises(KeyError), pytest.warns(RuntimeWarning, match="goes on"):
        fails()
    told = lines(log)
    assert ("WARNING", "RuntimeWarning: out of memory: goes on") in told
    assert ("INFO", "a\\n2026-01-01 00:00:00.000 INFO     forged\\x1b[31m") in told
    assert ("WARNING", "seen") in told
    assert ("CRITICAL", "KeyError: 'bug'") in told


def test_a_full_disk_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with logged(Path("/dev/full"), False, []):
        LOG.info("one")
        LOG.info("two")
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "--log /dev/full: no space left on device; lines are missing in it"


def test_nothing_is_said_or_rendered_without_them(capsys: pytest.CaptureFixture[str]) -> None:
    with step("silent"):
        SAID.error("nowhere")
        Output().print("seen")
    assert capsys.readouterr() == ("seen\n", "")


def test_steps_are_pythons_logging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lrpc"), step("load"):
        pass
    (record,) = caplog.records
    assert re.fullmatch(r"load: 0\.\d\d s", record.getMessage())
