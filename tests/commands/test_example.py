"""`lrpc example`, and the command line before a command is chosen."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from lrpc.cli import main, parser
from lrpc.commands.example import FILES, INDEX, SOURCE, content
from lrpc.commands.parser import COMMANDS
from lrpc.config import load_config

ROOT = Path(__file__).parents[2]
PACKAGE = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_help_and_version_need_no_torch() -> None:
    code = """
import sys, runpy
sys.argv = ["lrpc", sys.argv[1]]
try:
    runpy.run_module("lrpc", run_name="__main__")
except SystemExit as end:
    assert end.code == 0
assert "torch" not in sys.modules and "numpy" not in sys.modules
"""
    for option, words in {"--help": "usage: lrpc", "--version": "lrpc 0."}.items():
        ran = subprocess.run([sys.executable, "-c", code, option], capture_output=True, text=True)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout.startswith(words)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_says_what_it_takes(
    command: object, capsys: pytest.CaptureFixture[str]
) -> None:
    name = getattr(command, "name", "")
    with pytest.raises(SystemExit) as end:
        parser().parse_args([name, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: lrpc {name}")


def test_the_project_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "project"
    assert main(["example", str(folder)]) == 0
    config = load_config(folder / "maskdino.yaml")
    assert Path(config.MODEL.WEIGHTS) == folder / "digits/maskdino_digits.safetensors"
    printed, readme = capsys.readouterr().out, (folder / "README.md").read_text().splitlines()
    assert len(readme) == 5
    for line in readme[2:]:
        assert line in printed
        assert parser().parse_args(line.split()[1:]).command
    written = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert written == {*FILES, INDEX, "README.md"} == {*content()}


def test_a_stopped_run_is_completed_and_nothing_else_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["example", str(tmp_path)]) == 0
    (tmp_path / "README.md").unlink()
    assert main(["example", str(tmp_path)]) == 0
    assert (tmp_path / "README.md").is_file()

    def refused(folder: Path, text: str) -> None:
        capsys.readouterr()
        assert main(["example", str(folder)]) == 2
        assert capsys.readouterr().err == f"error: {folder}: {text}\n"

    last = "which is not of this example; name a new or an empty folder"
    config = tmp_path / "maskdino.yaml"
    config.write_text(config.read_text() + "# mine\n")
    refused(tmp_path, f"holds maskdino.yaml, {last}")
    assert config.read_text().endswith("# mine\n")
    (tmp_path / "build").mkdir()
    refused(tmp_path, f"holds build, {last}")
    refused(config, "cannot be read (not a folder)")


def test_the_wheel_holds_the_example() -> None:
    """Every file that the command reads is package data."""
    data = PACKAGE["tool"]["setuptools"]["package-data"]
    for name in (*FILES, INDEX):
        assert (SOURCE / name).is_file()
        assert any(fnmatch(f"example/{name}", pattern) for pattern in data["lrpc"]), name
    assert all("py.typed" in data[name] and (ROOT / name / "py.typed").is_file() for name in data)
    assert PACKAGE["tool"]["setuptools"]["packages"]["find"]["include"] == ["lrpc*", "passes*"]
