"""Programs are read as code: their text is kept, and what is kept is also run.

A golden proves text only, so each program is held against the reference interpreter as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lrpc.ir.parser import parse_graph
from lrpc.ir.printer import print_graph
from lrpc.ir.verifier import verify
from lrpc.program.verify import checks
from tests.support import golden
from tests.support.programs import DIGITS, Programs
from tests.support.tiny import tiny


@pytest.fixture(scope="module")
def program() -> Any:
    return golden.tiny_program()


def check(texts: dict[str, str]) -> None:
    found = "".join(golden.difference(name, text) for name, text in texts.items())
    if found:
        pytest.fail(found, pytrace=False)


def test_tiny_text(program: Any) -> None:
    check(golden.tiny_texts(program.directory))


def test_tiny_computes_what_the_interpreter_does(program: Any) -> None:
    results = list(checks(program.directory, every=True))
    assert any("against the interpreter" in c.remark for c in results)
    assert not [c for c in results if not c.passed]
    model, example = tiny()
    torch.testing.assert_close(program.forward(example).outputs, model(example))


def test_tiny_graph_reads_back() -> None:
    text = (golden.FOLDER / "tiny.lrp").read_text()
    graph = parse_graph(text, "tiny.lrp")
    verify(graph, "the test")
    assert print_graph(graph) == text


def test_digits_text(programs: Programs) -> None:
    check(golden.digits_texts(programs.directory(DIGITS, COMPOSITE="attnlrp", EPSILON=1e-6)))


def test_digits_compute_what_the_interpreter_does(programs: Programs) -> None:
    directory = programs.directory(DIGITS, COMPOSITE="attnlrp", EPSILON=1e-6)
    found = list(checks(directory, sizes=[{"H": 96, "W": 128}]))
    assert any("against the interpreter" in c.remark for c in found)
    assert not [c for c in found if not c.passed]


def test_a_difference_is_bounded_and_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    (tmp_path / "a.txt").write_text("\n".join(map(str, range(500))) + "\n")
    said = golden.difference("a.txt", "\n".join(map(str, range(500, 1000))) + "\n")
    assert "--- tests/golden/a.txt" in said
    assert "more lines" in said
    assert said.rstrip().endswith("python tools/update_golden.py")
    assert len(said.splitlines()) < golden.LINES + 8
    assert golden.difference("a.txt", (tmp_path / "a.txt").read_text()) == ""
