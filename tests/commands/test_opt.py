"""`lrpc opt`: options are read by the types of a pass's fields, and refused in one line."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from lrpc.cli import main
from lrpc.commands.opt.options import OptError, passes_of, summary
from lrpc.errors import LrpcWarning
from lrpc.ir.graph import Module
from lrpc.models.weights import save_weights
from passes import PASSES, AddPlaces, EliminateDead, LowerRelevance, MixedPrecision, annotating
from tests.support.graphs import module

TEXT = """graph @g(%x: f64[B,4]) {
  weight "w": f64[4,4]
  %a: f64[B,4] = linear(%x) {weight="w"}
  %y: f64[B,4] = add(%a, %x)
  return %y
}
"""


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("eliminate_dead:keep_places=false", EliminateDead(keep_places=False)),
        ("eliminate_dead", EliminateDead()),
        (
            "lower_relevance:target=a.b,reads=[c, d],ledger=true",
            LowerRelevance("a.b", ("c", "d"), ledger=True),
        ),
        (
            "mixed_precision:narrow=f16,least=4,wide=[]",
            MixedPrecision("f16", 4, frozenset()),
        ),
    ],
)
def test_options_are_the_fields_of_a_pass(text: str, made: object) -> None:
    assert passes_of("pass", text) == (made,)


def test_an_old_name_of_a_pass_works_and_says_so() -> None:
    with pytest.warns(LrpcWarning, match=r"^pass mark_ends is called add_places now$"):
        assert passes_of("pass", "mark_ends") == (AddPlaces(),)


def test_pipelines_are_named_too() -> None:
    steps = passes_of("pipeline", "annotating:composite=gamma,fold_batch_norm=false")
    plain = passes_of("pipeline", "annotating:composite=gamma")
    assert [step.name for step in steps] == [step.name for step in plain]
    assert steps[0] != plain[0]
    assert len(steps) == len(annotating(steps[-4].composite))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("pass", "simplfy", "there is no pass 'simplfy'; did you mean 'simplify'?; `lrpc opt"
         " --list` has them"),
        ("pass", "simplify:rounds=x", "pass simplify: rounds=x is not a whole number"),
        ("pass", "simplify:round=1", "pass simplify has no option 'round'; did you mean 'rounds'?;"
         " it has: rounds"),
        ("pass", "simplify:rounds", "simplify:rounds: options are KEY=VALUE, with commas between"),
        ("pass", "simplify:rounds=1,rounds=2", "simplify:rounds=1,rounds=2: rounds is given twice"),
        ("pass", "eliminate_dead:keep_places=1",
         "pass eliminate_dead: keep_places=1 is not true or false"),
        ("pass", "move_boundaries:boundaries=a",
         "pass move_boundaries: boundaries=a is not a list such as [a,b]"),
        ("pass", "lower_relevance:target=y",
         "pass lower_relevance needs reads=a list such as [a,b]"),
        ("pass", "mark_rest:a=1", "pass mark_rest has no option 'a'; it has: none"),
        ("pass", "own.module:Step:a=1",
         "pass own.module:Step is code of its own: allow it with --plugin own.module"),
        ("pipeline", "marks", "there is no pipeline 'marks'; did you mean 'marking'?: marking,"
         " annotating, pruning, cleaning"),
        ("pipeline", "annotating", "pipeline annotating needs composite=the name of a composite"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(kind: str, text: str, said: str) -> None:
    with pytest.raises(OptError) as caught:
        passes_of(kind, text)
    assert str(caught.value) == said


@dataclass(frozen=True)
class Renamed:
    """Calls the graph otherwise."""

    to: str
    name: ClassVar[str] = "renamed"

    def run(self, module: Module) -> Module:
        return module.with_graph(replace(module.graph, name=self.to))


def test_passes_of_ones_own_come_with_their_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = types.ModuleType("my.passes")
    own.Renamed, own.other = Renamed, 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my.passes", own)
    file = tmp_path / "g.lrp"
    file.write_text(TEXT)
    asked = ["opt", str(file), "--plugin", "my.passes", "--pass"]
    assert main([*asked, "my.passes:Renamed:to=h"]) == 0
    assert capsys.readouterr().out == TEXT.replace("@g", "@h")
    assert main([*asked, "my.passes:other"]) == 2
    assert "my.passes has no pass other: a frozen dataclass" in capsys.readouterr().err


def test_files_in_and_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out, weights = (tmp_path / name for name in ("g.lrp", "out.lrp", "w.safetensors"))
    file.write_text(TEXT)
    save_weights(weights, module(TEXT).tensors)
    asked = ["opt", str(file), "--pass", "mark_residual", "-o", str(out)]
    assert main([*asked, "--weights", str(weights)]) == 0
    assert "%y: f64[B,4] = add(%x, %a) role=residual\n" in out.read_text()
    save_weights(weights, module(TEXT.replace("f64", "f32")).tensors)
    assert main([*asked, "--weights", str(weights)]) == 2
    assert "is declared f64[4,4], but what is given as weights has it as" in capsys.readouterr().err
    file.write_text(TEXT.replace("add", "ad"))
    assert main(asked) == 2
    assert f"error: {file}:4:18" in capsys.readouterr().err
    assert main(["opt"]) == 2
    assert "name a graph in its text form" in capsys.readouterr().err


def test_every_pass_is_listed_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["opt", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines][: len(PASSES)] == list(PASSES)
    assert summary(EliminateDead).startswith("[keep_places=true] Drops nodes")
