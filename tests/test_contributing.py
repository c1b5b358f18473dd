"""CONTRIBUTING.md says what is so: its files are there, its commands parse, its examples run."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from lrpc.backend.emission import Emission
from lrpc.cli import main, parser
from lrpc.config.target_kinds import Index, TargetKind
from lrpc.ir.ops import Family, Trait
from lrpc.ir.ops.row import Op
from lrpc.rules import addition
from lrpc.rules.declaration import Declaration
from tests.support.one_node import Case
from tests.support.twins import check, n
from tests.test_docs import blocks, commands

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
MADE = {"passes/drop_detach.py", "tests/passes/texts/drop_detach.lrp"}  # by its example


def block(start: str, language: str = "python") -> str:
    """The page's one block that starts so."""
    (found,) = [text for text in blocks(language, PAGE) if text.lstrip().startswith(start)]
    return found


def made(start: str, **names: Any) -> Any:
    """What an entry of a table in the page is."""
    return eval(block(start).strip().rstrip(","), names)


def test_files_are_there() -> None:
    named = set(re.findall(r"`((?:lrpc|passes|tests|tools|docs)/[\w/.]*)`", PAGE.read_text()))
    assert len(named) > 15
    assert [name for name in sorted(named - MADE) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("words", commands(PAGE), ids=" ".join)
def test_commands_parse(words: list[str]) -> None:
    assert parser().parse_args(words).command == words[0]


def test_the_operation() -> None:
    row: Op = made('Op("erfcx"', Op=Op, torch=torch, Family=Family, T=Trait)
    entry = eval("{" + block('"erfcx": Emission').strip() + "}", {"Emission": Emission})
    f = eval("{" + block('"erfcx": ("erfcx"').strip() + "}", {"torch": torch})[row.name][2]
    x = n(5)
    torch.testing.assert_close(row.reference(x), f(x))
    text = entry[row.name].text.format("x")
    assert torch.equal(eval(text, {"torch": torch, "x": x}), row.reference(x))


def test_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    from lrpc.rules import CATALOGUE

    scope = dict(vars(addition))
    exec(block("def halves"), scope)
    rule: Declaration = eval(block('Declaration("halves"').strip().rstrip(","), scope)
    for op in rule.ops:
        monkeypatch.setitem(CATALOGUE, (op, rule.name), rule)
    tests: dict[str, Any] = {"Case": Case, "check": check, "n": n}
    exec(block("def test_halves"), tests)
    tests["test_halves"]()


def test_the_pass(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    own = ModuleType("own.drop_detach")
    monkeypatch.setitem(sys.modules, own.__name__, own)
    exec(block('"""Takes detaches out'), own.__dict__)
    for case in block("# a detach goes", "text").split("\n\n"):
        graph, ending, expected = re.split(r"# (gives|stays)\n", case.partition("drop_detach\n")[2])
        monkeypatch.setattr(sys, "stdin", io.StringIO(graph))
        steps = ["--plugin", own.__name__, "--pass", f"{own.__name__}:DropDetach"]
        assert main(["opt", "-", *steps]) == 0
        assert (
            capsys.readouterr().out.rstrip() == (expected if ending == "gives" else graph).rstrip()
        )


def test_the_target() -> None:
    kind: TargetKind = made("TargetKind(", TargetKind=TargetKind, Index=Index)
    assert kind.form == "backbone_feature:LAYER:channel,y,x"
    assert kind.slug((17, 3, 2)) == "c17-y3-x2"
    assert kind.say((17, 3, 2)) == "channel 17, y 3 x 2"
    assert (kind.names, kind.places) == (("channel", "y", "x"), (0, 1, 2))
