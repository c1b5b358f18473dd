"""tools/bench/turns.py: two program directories beside each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.checkpoints import compiled
from tools.bench.turns import main

NAMES = ["forward", "relevance", "with ledger"]
PEAKS = ["peak of forward and relevance", "peak of forward and relevance, with ledger"]


def directory(composite: str) -> Path:
    return Path(compiled("small ViT", composite, "none").directory)


def test_a_program_beside_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Measured peaks are equal, and what is predicted."""
    own = str(directory("attnlrp"))
    assert main([own, own, "--turns", "2", "--at", "[(0,), (1,)]", "--cpu-time"]) == 0
    shown = capsys.readouterr().out
    for name in (*NAMES, *PEAKS):
        assert re.search(rf"^ *{re.escape(name)} +\S+ [kM]?\w+ ", shown, re.MULTILINE), name
    assert "2 seed(s)" in shown
    assert "relevance: equal" in shown
    assert re.search(r"ledger: \d+ rows, apart by 0e\+00 of the start", shown)
    peaks = [re.search(rf"{name} +(\S+ \S+) +(\S+ \S+) +1.000", shown) for name in PEAKS]
    said = re.search(r"predicted peaks of new: (\S+ \S+), with ledger (\S+ \S+)", shown)
    assert all(peaks)
    assert said
    assert [found.groups() for found in peaks if found] == [(x, x) for x in said.groups()]


def test_programs_that_differ(capsys: pytest.CaptureFixture[str]) -> None:
    pair = [str(directory(name)) for name in ("attnlrp", "gradient_input")]
    assert main([*pair, "--turns", "1", "--no-peaks"]) == 1
    shown = capsys.readouterr().out
    assert re.search(r"relevance: DIFFERS by \S+ of its largest", shown)
    assert "ledger: rows DIFFER" in shown
    assert "peak" not in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "logit"], "--target logit: both programs have output"),
        (["--at", "0, x"], '--at 0, x: expected a list such as "[(0, 0), (1, 2)]"'),
        (["--at", "()"], '--at (): expected a list such as "[(0, 0), (1, 2)]"'),
        (["--turns", "0"], "--turns 0: expected a number from 1"),
    ],
)
def test_refusals(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    own = str(directory("attnlrp"))
    assert main([own, own, *words]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"
