"""Program directories appear whole or not at all, whoever kills or meets the writer."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import lrpc
from lrpc.errors import LrpcError, ProgramError
from lrpc.program.directory import write_files
from lrpc.program.loading import load_program
from lrpc.support import swap
from lrpc.support.swap import recover

CALLS = {
    *("open", "os.rename", "os.mkdir", "os.chmod", "os.remove", "os.rmdir", "os.link"),
    *("os.listdir", "os.scandir", "shutil.rmtree", "fcntl.flock", "ctypes.dlsym"),
}


def files_of(tag: str, **more: str) -> dict[str, bytes]:
    """A program's files, all of one compilation."""
    found = {"program.py": tag.encode(), "weights.safetensors": tag.encode() * 1000}
    found |= {f"{name}.lrp": text.encode() for name, text in more.items()}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    passes = {"passes/00-imported.lrp": tag.encode()}
    return {**found, **passes, "manifest.json": json.dumps({"sha256": hashes}).encode()}


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that cannot exchange two names."""
    monkeypatch.setattr(swap, "_exchanged", lambda one, other: False)


@pytest.fixture(params=["exchanged", "renamed"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "renamed":
        no_exchange(monkeypatch)
    return str(request.param)


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked process; its exit code, negative for a signal."""
    child = os.fork()
    if not child:
        code = 9
        try:
            work()
            code = 0
        except ProgramError:
            code = 3
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.usefixtures("either_way")
def test_a_program_replaces_an_older_one_and_nothing_is_left_over(tmp_path: Path) -> None:
    old = {**files_of("old", stale="old"), "passes/01-more.lrp": b"old"}
    write_files(tmp_path / "p", old)
    write_files(tmp_path / "p", files_of("new"))
    assert content(tmp_path / "p") == files_of("new")
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


@pytest.mark.usefixtures("either_way")
def test_files_of_the_user_s_own_stay(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    write_files(folder, files_of("old", stale="as written"))
    (folder / "notes" / "empty").mkdir(parents=True)
    (folder / "notes" / "thesis.tex").write_text("years of work")
    (folder / "stale.lrp").write_text("edited since")
    (folder / "elsewhere").symlink_to("/nowhere")
    folder.chmod(0o750)
    write_files(folder, files_of("new"))
    assert content(folder) == {
        **files_of("new"),
        "notes/thesis.tex": b"years of work",
        "stale.lrp": b"edited since",
    }
    assert (folder / "notes" / "empty").is_dir()
    assert os.readlink(folder / "elsewhere") == "/nowhere"
    assert folder.stat().st_mode & 0o777 == 0o750


def test_another_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ProgramError, match=r"exists and is not a program directory; choose"):
        write_files(tmp_path, files_of("new"))
    assert content(tmp_path) == {"thesis.tex": b"years of work"}


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "p", files_of("old"))

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ProgramError, match=r"p: cannot be written \(no space left on device\)$"):
        write_files(tmp_path / "p", files_of("new"))
    assert content(tmp_path / "p") == files_of("old")
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


# -- killed ----------------------------------------------------------------------------------------


def killed(after: int, work: Callable[[], None]) -> Callable[[], None]:
    """`work`, killed before its call of the file system number `after`."""

    def run() -> None:
        left = after

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event in CALLS:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        work()

    return run


def kills(folder: Path) -> Iterator[Path]:
    """`folder/N/p`, whose writer was killed at call N, for every N that there is."""
    for n in range(200):
        out = folder / str(n) / "p"
        write_files(out, files_of("old"))
        (out / "notes.txt").write_text("mine")
        code = in_child(killed(n, partial(write_files, out, files_of("new"))))
        if code == 0:
            assert n > 20
            return
        assert code == -signal.SIGKILL
        yield out
    raise AssertionError("more calls than there can be")


def test_old_or_new_stands_wherever_the_writer_is_killed(either_way: str, tmp_path: Path) -> None:
    """Where names can be exchanged, nothing is missing for an instant, either."""
    mine = {"notes.txt": b"mine"}
    seen = set()
    for out in kills(tmp_path):
        assert out.is_dir() or either_way == "renamed"
        recover(out)
        found = content(out)
        assert found in ({**files_of("old"), **mine}, {**files_of("new"), **mine})
        seen.add(found["program.py"])
        write_files(out, files_of("next"))
        assert content(out) == {**files_of("next"), **mine}
        assert [path.name for path in out.parent.iterdir()] == ["p"]
    assert seen == {b"old", b"new"}


# -- meeting others --------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="wants /proc, which takes no files")
def test_where_no_directory_can_be_made_is_not_another_writer() -> None:
    told = r"^/proc/p: cannot be written \(no such file or directory\)"
    with pytest.raises(LrpcError, match=told):
        write_files(Path("/proc/p"), files_of("first"))


def test_of_two_writers_one_wins_and_the_other_says_so(tmp_path: Path) -> None:
    out = tmp_path / "p"
    with swap._workspace(out):
        told = r"p: another lrpc writes it at this moment; run this again when that has ended$"
        with pytest.raises(ProgramError, match=told):
            write_files(out, files_of("second"))
    write_files(out, files_of("first"))
    codes = []

    def often(out: Path, tag: str) -> None:
        for _ in range(20):
            write_files(out, files_of(tag))

    for tag in "abcd":
        child = os.fork()
        if not child:
            os._exit(in_child(partial(often, out, tag)))
        codes.append(child)
    found = {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in codes}
    assert found <= {0, 3}
    assert content(out) in [files_of(tag) for tag in ("first", *"abcd")]
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def scaled(folder: Path, scale: float) -> dict[str, bytes]:
    """The files of a program that multiplies a sum by `scale`, and says so in its text."""
    model = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.constant_(model.weight, scale)
    program: Any = lrpc.compile(model, (torch.ones(1, 2),))
    program.save(folder)
    files = content(folder)
    files["program.py"] += f"\nSCALE = {scale}\n".encode()
    stated = json.loads(files["manifest.json"])
    stated["sha256"]["program.py"] = hashlib.sha256(files["program.py"]).hexdigest()
    return {**files, "manifest.json": json.dumps(stated).encode()}


@pytest.mark.usefixtures("either_way")
def test_a_program_replaced_while_it_is_read_is_loaded_whole(tmp_path: Path) -> None:
    """Whichever file the reader opens next when the directory is replaced."""
    out = tmp_path / "p"
    made = [scaled(tmp_path / "one", 1.0), scaled(tmp_path / "two", 2.0)]
    left = -1  # calls of `open` until the directory is replaced

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if left >= 0 and event == "open" and str(arguments[0]).startswith(f"{out}/"):
            left -= 1
            if left < 0:
                write_files(out, made[1])

    sys.addaudithook(hook)
    loads: list[float] = []
    for n in range(50):
        left = -1
        write_files(out, made[0])
        left = n
        program: Any = load_program(out, "cpu")
        written = type(program).__init__.__globals__["SCALE"]
        assert float(program.forward(torch.ones(1, 2)).outputs) == 2 * written
        loads.append(written)
        if left >= 0:
            break
    left = -1
    assert loads[0] == 2.0
    assert loads[-1] == 1.0  # read to the end before it was replaced
    assert len(loads) > 4


def test_a_program_compiled_again_since_its_import_is_not_loaded(tmp_path: Path) -> None:
    out = tmp_path / "p"
    model = torch.nn.Linear(2, 1)
    program: Any = lrpc.compile(model, (torch.ones(1, 2),))
    program.save(out)
    program = load_program(out, "cpu")
    files = content(out)
    files["program.py"] += b"\n"
    stated = json.loads(files["manifest.json"])
    stated["sha256"]["program.py"] = hashlib.sha256(files["program.py"]).hexdigest()
    write_files(out, {**files, "manifest.json": json.dumps(stated).encode()})
    load = type(program).__init__.__globals__["load"]
    with pytest.raises(Exception, match=r"holds another program than the one imported"):
        load()


# -- where it is written ---------------------------------------------------------------------------


def test_a_link_stays_one_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    write_files(tmp_path / "real" / "p", files_of("old"))
    (tmp_path / "link").symlink_to(tmp_path / "real" / "p")
    write_files(tmp_path / "link", files_of("new"))
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "real" / "p") == files_of("new")
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["p"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file", "exists and is not a program directory; choose another with -o"),
        ("file/p", "cannot be written (file exists)"),
        ("loop", "cannot be written (too many levels of symbolic links)"),
        ("a" * 300, "cannot be written (file name too long)"),
        ("a\0b", "cannot be written (a NUL in its name)"),
        ("/", "cannot be replaced as a whole; name a folder in it"),
        ("/proc/nowhere/p", "cannot be written (no such file or directory)"),
    ],
)
def test_places_that_cannot_be_written_are_told_in_one_line(
    tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ProgramError) as caught:
        write_files(tmp_path / name, files_of("new"))
    assert str(caught.value).endswith(said)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]
