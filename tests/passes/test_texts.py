"""Passes as texts: each case in tests/passes/texts has a graph, a command, and what comes out.

# what it shows; `near miss: …` where it is nearly what the pass looks for
# $ lrpc opt - --pass NAME[:OPTION=VALUE,…] …
graph @g(…) { … }
# gives                       or `# stays`, or `# fails: the error`
graph @g(…) { … }
"""

from __future__ import annotations

import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from lrpc.cli import main
from lrpc.commands.opt.options import passes_of
from lrpc.commands.opt.running import run
from lrpc.ir.interpreter import interpret
from lrpc.ir.parser import parse_graph
from lrpc.ir.printer import print_graph
from passes import MARKING, PASSES
from passes.base import Pass
from tests.support.graphs import random

FOLDER = Path(__file__).parent / "texts"
#: Passes after which a graph computes something else than before: relevance, or narrower numbers.
OTHERWISE = {"lower_relevance", "mixed_precision"}


@dataclass(frozen=True)
class Case:
    """One text pair."""

    file: str
    title: str
    command: tuple[str, ...]
    given: str
    outcome: str
    expected: str

    @property
    def steps(self) -> list[str]:
        return [text for text in self.command if not text.startswith("-")]


def cases() -> list[Case]:
    found = []
    for path in sorted(FOLDER.glob("*.lrp")):
        for part in re.split(r"\n\n(?=# .*\n# \$ )", path.read_text()):
            whole = re.fullmatch(
                r"# (.*)\n# \$ lrpc opt - (.*)\n((?:.*\n)*?)"
                r"# (gives|stays|fails: .*)\n?((?:.*\n?)*)",
                part,
            )
            assert whole, f"{path.name}: {part.splitlines()[0]}"
            title, command, given, outcome, expected = whole.groups()
            words = tuple(command.split())
            found.append(
                Case(path.stem, title, words, given, outcome, expected.rstrip("\n") + "\n")
            )
    return found


CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.file}: {c.title}")
def test_pass(
    case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(case.given))
    code = main(["opt", "-", *case.command])
    shown = capsys.readouterr()
    if case.outcome.startswith("fails: "):
        said = case.outcome.removeprefix("fails: ")
        assert (code, shown.out, shown.err.splitlines()[0]) == (2, "", f"error: {said}")
        return
    assert code == 0, shown.err
    assert shown.out == (case.given if case.outcome == "stays" else case.expected)
    for text in re.split(r"(?<=^}\n)\n", shown.out, flags=re.MULTILINE):
        assert print_graph(parse_graph(text)) == text


@pytest.mark.parametrize(
    "case",
    [
        c
        for c in CASES
        if not any(step.partition(":")[0] in OTHERWISE for step in c.steps)
        and not c.outcome.startswith("fails")
    ],
    ids=lambda c: f"{c.file}: {c.title}",
)
def test_values_stay(case: Case) -> None:
    """What a pass makes of a graph gives the same outputs, and has the weights that it declares."""
    graph = parse_graph(case.given)
    steps = [one for step in case.steps for one in passes_of("pass", step)]
    before, after = run(graph, [], None).module, run(graph, steps, None).module
    assert after.tensors.keys() == after.graph.weight_types.keys()
    torch.manual_seed(0)
    given = {v.name: random(v.type) for v in graph.inputs}
    expected, found = (interpret(m.graph, m.tensors, given) for m in (before, after))
    assert expected.keys() == found.keys()
    near = 1e-12 if graph.dtype == "f64" else 1e-5
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=near, atol=near, equal_nan=True)


def test_every_pass_has_a_text_and_every_mark_pass_a_near_miss() -> None:
    assert {case.file for case in CASES} == PASSES.keys()
    missed = {case.file for case in CASES if case.title.startswith("near miss")}
    assert {step.name for step in MARKING if _marks(step)} <= missed


def _marks(step: Pass) -> bool:
    return step.name.startswith(("mark_", "recognise_", "expand_"))
