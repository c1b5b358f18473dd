"""What commands have in common on the command line: KEY VALUE at the end, ranges of numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lrpc.cli import main
from lrpc.commands.parser import parse
from lrpc.commands.session.arguments import split_overrides
from tests.support.programs import DIGITS

PAIRS = ["LRPC.EPSILON", "1e-5", "MODEL.WEIGHTS", ""]
ANALYZE = "analyze --images-dir D --which-module encoder --layer-index 1 --feature-index all"


@pytest.mark.parametrize(
    "words",
    [
        "compile --config C -o DIR",
        "evaluate --config C --scenes S",
        "evaluate A B --config C --scenes S",
        "bench DIR --batch 2",
        "bench DIR",
        f"{ANALYZE} --config C --output-csv T",
    ],
)
def test_keys_and_values_stand_at_the_end_of_any_command(words: str) -> None:
    args = parse([*words.split(), *PAIRS])
    rest = [*getattr(args, "programs", []), *args.overrides]
    paths, pairs = split_overrides(rest)
    assert pairs == PAIRS
    assert [str(path) for path in paths] == (["A", "B"] if " A B " in words else [])


def test_a_folder_that_is_called_like_a_key_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("LRPC.EPSILON").mkdir()
    words = ["LRPC.EPSILON", "build/a", "MODEL.WEIGHTS", "x"]
    assert split_overrides(words) == ([Path("LRPC.EPSILON"), Path("build/a")], words[2:])
    assert split_overrides(["lrpc.v2", "LRPC"]) == ([Path("lrpc.v2"), Path("LRPC")], [])


@pytest.mark.parametrize("words", [["run", "DIR", *PAIRS], ["evaluate", "--nope", *PAIRS]])
def test_what_no_command_takes_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--images", "I", "-o", "O"] if words[0] == "run" else ["--scenes", "S"]
    with pytest.raises(SystemExit):
        parse([words[0], *more, *words[1:]])
    assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["LRPC.NOPE", "1"], ["--set", "LRPC.NOPE", "1"]])
def test_the_old_way_to_set_a_key_says_so(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", str(DIGITS), "--scenes", str(tmp_path), "--no-plot"]
    assert main(["evaluate", *words, *given]) == 2
    said = capsys.readouterr().err
    assert "LRPC.NOPE: unknown key" in said
    note = "note: --set KEY VALUE is written KEY VALUE, at the end; --set goes with the next"
    assert said.startswith(note) == ("--set" in given)
    assert said.count("\n") == 1 + ("--set" in given)


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from lrpc.commands.parser import parser; parser().format_help()"
    script = f"{code}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(("body", "code", "said"), [
    ("return atexit.register(print, 'last') and 3", 3, "last\n"),
    ("raise KeyError", 1, "taken apart\n"),
])  # fmt: skip
def test_a_process_of_a_command_is_not_taken_apart(body: str, code: int, said: str) -> None:
    script = f"""
import atexit, sys
from lrpc import cli

class Kept:
    def __del__(self):
        print("taken apart")

def main():
    global kept
    kept = Kept()
    {body}

cli.main = main
sys.exit(cli.script())
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (code, said)
