"""Files that commands write, and what is said where the system refuses."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lrpc.cli import main
from lrpc.commands.bench import store
from lrpc.commands.show import command as show
from lrpc.errors import ProgramError
from lrpc.support import files
from tests.support.run_fakes import write_image, write_program


def test_a_link_stays_one_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("folder/real.csv")
    (tmp_path / "dangling.csv").symlink_to("folder/new.csv")
    for name in ("link.csv", "dangling.csv"):
        files.write_text(tmp_path / name, "new")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_text() == "new"
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == ["new.csv", "real.csv"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "cannot be written (is a folder); name a file"),
        ("loop", "cannot be written (is a loop of links)"),
        ("pipe", "cannot be written (is no regular file)"),
        ("/dev/full", "cannot be written (is no regular file)"),
        ("file/a", "cannot be written (not a directory)"),
        ("nowhere/a", "cannot be written (no such file or directory)"),
        ("a" * 300, "cannot be written (file name too long)"),
        ("a\0b", "cannot be written (a NUL in its name)"),
    ],
)
def test_places_that_cannot_be_written_are_one_line(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(ProgramError) as caught:
        files.write_text(tmp_path / name, "new")
    assert str(caught.value) == f"{files.shown(tmp_path / name)}: {said}"
    assert str(caught.value).isprintable()
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert (tmp_path / "file").read_text() == "mine"


def test_names_that_are_no_text_are_written_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "odd\udcff\n.json"
    files.write_text(path, "\udcff")
    assert path.read_text() == "\\udcff"
    assert files.shown(path.name) == "odd\\udcff\\n.json"


def test_what_a_killed_run_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        with files.complete(tmp_path / "a.json") as part:
            part.write_text("half")
            os._exit(0)  # as killed: nothing is cleaned up
    os.waitpid(child, 0)
    with files.complete(tmp_path / "b.json") as mine:
        mine.write_text("of a run that goes on")
        (tmp_path / ".user.part").write_text("kept")
        (left,) = {p.name for p in tmp_path.iterdir()} - {mine.name, ".user.part"}
        assert left.startswith(".a.json.")
        files.make_folder(tmp_path)
        assert {p.name for p in tmp_path.iterdir()} == {mine.name, ".user.part"}
    assert {p.name for p in tmp_path.iterdir()} == {"b.json", ".user.part"}


# -- commands --------------------------------------------------------------------------------------


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The one line of a command that cannot write."""
    assert main([str(word) for word in words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    return told.err.removeprefix("error: ").removesuffix("\n")


@pytest.mark.parametrize("command", ["run", "compare"])
def test_outputs_that_cannot_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    programs = [write_program(tmp_path / name) for name in ("a", "b")][: 1 + (command != "run")]
    image = write_image(tmp_path / "i.png", 150)
    words: list[str | Path] = [command, *programs, "--images", image, "--device", "cpu", "-o"]
    assert said(capsys, *words, image) == f"{image}: cannot be made a folder (file exists)"
    under = image / "out"
    assert said(capsys, *words, under) == f"{under}: cannot be made a folder (not a directory)"
    long = tmp_path / ("a" * 300)
    assert said(capsys, *words, long) == f"{long}: cannot be made a folder (file name too long)"


def test_a_disk_that_fills_up_fails_the_images_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write_program(tmp_path / "DIR")
    for n in range(2):
        write_image(tmp_path / "images" / f"{n}.png", 150)

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    out = tmp_path / "out"
    words = ["run", program, "--images", tmp_path / "images", "-o", out, "--device", "cpu"]
    assert main([str(word) for word in words]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for n, line in enumerate(lines):
        assert line.startswith(f"{tmp_path}/images/{n}.png: {out}/{n}.relevance.safetensors: ")
        assert "(no space left on device); it has no record" in line


def test_what_the_system_says_of_any_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(console: object) -> None:
        (tmp_path / "nowhere").read_bytes()

    monkeypatch.setattr("lrpc.commands.rules.show_all", refuse)
    assert said(capsys, "rules") == f"{tmp_path}/nowhere: no such file or directory"
    with pytest.raises(FileNotFoundError):
        main(["--debug", "rules"])


def with_output(output: int, folder: Path, *words: str, buffered: bool = True) -> tuple[int, str]:
    """The exit code of a command that prints to an open file, and its standard error."""
    path = folder / "stderr"
    child = os.fork()
    if not child:
        code = 99
        try:
            os.dup2(output, 1)
            os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
            raw = os.fdopen(1, "wb", -1 if buffered else 0)
            sys.stdout = io.TextIOWrapper(raw, write_through=not buffered)
            sys.stderr = os.fdopen(2, "w")
            code = main(words)
            sys.stdout.flush()  # as Python does at its end
            sys.stderr.flush()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), path.read_text()


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("words", [("rules",), ("--help",), ("plan", "--help"), ("--version",)])
def test_standard_output_that_is_full_or_closed(
    tmp_path: Path, words: tuple[str, ...], buffered: bool
) -> None:
    with open("/dev/full", "w") as full:
        assert with_output(full.fileno(), tmp_path, *words, buffered=buffered) == (
            2,
            "error: standard output: no space left on device\n",
        )
    reading, writing = os.pipe()
    os.close(reading)
    assert with_output(writing, tmp_path, *words, buffered=buffered) == (141, "")
    os.close(writing)


def test_what_was_typed_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["rules", "epsilon", "\x1b[31m\x9b"])
    said = capsys.readouterr().err
    assert said.endswith("lrpc: error: unrecognized arguments: \\x1b[31m\\x9b\n")


@pytest.mark.parametrize("write", [partial(store.write, cases={}), partial(show._write, text="")])
def test_other_writers_keep_links_and_refuse_in_one_line(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").is_file()
    with pytest.raises(ProgramError, match=r"cannot be written \(no such file or directory\)$"):
        write(tmp_path / "nowhere" / "a")
