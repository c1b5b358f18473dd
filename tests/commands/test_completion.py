"""Completion by real shells, where they are installed."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lrpc.cli import main
from lrpc.commands.completion.command import everything
from lrpc.commands.parser import COMMANDS

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts, as a user prints them; `lrpc` is on no path."""
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        call = [sys.executable, "-m", "lrpc", "completion", shell]
        done = subprocess.run(call, capture_output=True, text=True, check=True)
        (folder / f"lrpc.{shell}").write_text(done.stdout)
    work = folder / "work"
    (work / "build").mkdir(parents=True)
    (work / "a photo.png").touch()
    return folder


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


def by_bash(scripts: Path, line: str) -> list[str]:
    """What bash offers at the end of a line."""
    needs("bash")
    words = line.split(" ")
    text = f"""source {scripts}/lrpc.bash
    COMP_WORDS=({" ".join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}
    _lrpc; printf '%s\\n' "${{COMPREPLY[@]}}" """
    return said(["bash", "--norc", "-c", text], scripts)


def by_fish(scripts: Path, line: str) -> list[str]:
    """What fish offers at the end of a line, without descriptions."""
    needs("fish")
    text = f"source {scripts}/lrpc.fish; complete -C {line!r}"
    return [one.partition("\t")[0] for one in said(["fish", "-N", "-c", text], scripts)]


def said(call: list[str], scripts: Path) -> list[str]:
    where = {**os.environ, "PATH": "/usr/bin:/bin", "PYTHONPATH": "", "HOME": str(scripts)}
    work = scripts / "work"
    done = subprocess.run(call, cwd=work, env=where, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("ask", [by_bash, by_fish])
def test_a_shell_completes_commands_options_words_and_files(ask: object, scripts: Path) -> None:
    def offered(line: str) -> set[str]:
        return set(ask(scripts, line))  # type: ignore[operator]

    assert offered("lrpc ") == {command.name for command in COMMANDS}
    assert offered("lrpc re") == {"report"}
    assert offered("lrpc --log run.txt -v pl") == {"plan"}
    assert offered("lrpc run --at") == {"--at", "--attention"}
    assert offered("lrpc run build --device c") == {"cpu", "cuda"}
    assert offered("lrpc run build --maps ") == {"float32", "float16", "int8", "none"}
    assert "attnlrp" in offered("lrpc run build --no-ledger --composite att")
    assert offered("lrpc run build --target class_l") == {"class_logit"}
    assert offered("lrpc completion ") == set(SHELLS)
    assert "LRPC.COMPOSITE" in offered("lrpc compile --config x.yaml LRPC.COMP")
    assert {one.rstrip("/") for one in offered("lrpc run b")} == {"build"}
    assert {one.replace("\\", "") for one in offered("lrpc run build --images a")} == {
        "a photo.png"
    }
    assert "--score" not in offered("lrpc show --sc")


def test_bash_takes_equals_signs_and_several_values(scripts: Path) -> None:
    assert by_bash(scripts, "lrpc run build --device = c") == ["cpu", "cuda"]
    assert by_bash(scripts, "lrpc run --images a b") == ["build"]
    assert by_bash(scripts, "lrpc run --images a --scor") == ["--score"]
    assert by_bash(scripts, "lrpc run --top 3 b") == ["build"]
    assert by_bash(scripts, "lrpc run --top b") == []


class Zsh:
    """zsh at a terminal, with the script loaded."""

    def __init__(self, scripts: Path) -> None:
        needs("zsh")
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(scripts / "work")
            os.environ.update(TERM="dumb", PS1="READY> ", HOME=str(scripts))
            os.execvp("zsh", ["zsh", "-f", "-i"])
        self.ask("unsetopt zle_bracketed_paste; autoload -U compinit; compinit -D -u\n")
        self.ask("zstyle ':completion:*' list-separator '|'; LISTMAX=1000\n")
        self.ask(f"source {scripts}/lrpc.zsh\n")

    def ask(self, text: str, seconds: float = 1.5) -> str:
        """Type, and read until nothing more comes."""
        os.write(self.terminal, text.encode())
        found = b""
        while select.select([self.terminal], [], [], seconds)[0]:
            found += os.read(self.terminal, 65536)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", found.decode(errors="replace"))

    def close(self) -> None:
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


def test_zsh_completes_at_a_terminal(scripts: Path) -> None:
    shell = Zsh(scripts)
    began = time.monotonic()
    try:
        assert "lrpc report " in shell.ask("lrpc repo\t")
        options = shell.ask("\x15lrpc run --at\t\t")
        assert "--attention" in options
        assert "lrpc run --missed " in shell.ask("\x15lrpc run --mis\t")
        assert re.search(r"cpu\s+cuda", shell.ask("\x15lrpc run build --device c\t\t"))
        assert "class_logit" in shell.ask("\x15lrpc run build --target class_l\t\t")
        assert "build/" in shell.ask("\x15lrpc run bu\t")
        assert "a\\ photo.png" in shell.ask("\x15lrpc run build --images a\t")
        assert "LRPC.COMPOSITE" in shell.ask("\x15lrpc compile LRPC.COMPO\t\t")
    finally:
        shell.close()
    assert time.monotonic() - began < 120


def test_every_command_and_option_is_there() -> None:
    top, commands = everything()
    assert [one.name for one in commands] == [one.name for one in COMMANDS]
    assert {"--log", "--verbose", "--version", "--help"} <= {
        n for o in top.options for n in o.names
    }
    for one in commands:
        names = {name for option in one.options for name in option.names}
        assert {"--help", "--log", "-v"} <= names, one.name


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["completion", "tcsh"])
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
