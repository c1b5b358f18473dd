"""Program directories appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrpc.directory import write_files
from lrpc.errors import ProgramError

FILES = {"program.py": b"new", "manifest.json": b"{}", "passes/00-imported.lrp": b"graph"}


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_program_replaces_an_older_one_and_nothing_is_left_over(tmp_path: Path) -> None:
    write_files(tmp_path / "p", {**FILES, "stale": b"old"})
    write_files(tmp_path / "p", FILES)
    assert content(tmp_path / "p") == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_another_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ProgramError, match=r"exists and is not a program directory; choose"):
        write_files(tmp_path, FILES)
    assert content(tmp_path) == {"thesis.tex": b"years of work"}


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "p", {**FILES, "program.py": b"old"})
    move = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target.name == "p" and (self / "program.py").read_bytes() == b"new":
            raise OSError("disk full")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OSError, match="disk full"):
        write_files(tmp_path / "p", FILES)
    assert content(tmp_path / "p")["program.py"] == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
