"""`lrpc tune`: the search over rules by part, and what it writes."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from lrpc.cli import main
from lrpc.commands.evaluate.frontier import AXES, write_frontier
from lrpc.commands.evaluate.intervals import Mean
from lrpc.commands.evaluate.measuring import measure_all
from lrpc.commands.evaluate.results import Results
from lrpc.commands.tune import command
from lrpc.commands.tune.search import Criterion, Search
from lrpc.commands.tune.space import Choice, parts_of, steps
from lrpc.errors import ProgramError
from lrpc.ir.graph import Graph
from lrpc.ir.parser import read_graph
from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import DIGITS, Programs


class Landscape:
    """Figures of candidates from a formula, in place of images."""

    failed: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, choices: Sequence[Choice]) -> None:
        self.choices = choices

    def summary(self) -> dict[str, dict[str, Mean]]:
        return {
            one.name: {"abpc": Mean(self.height(one), None, 1), "rank": Mean(0.5, None, 1)}
            for one in self.choices
            if one.gammas.get("b") != 9.0  # which fails
        }

    @staticmethod
    def height(one: Choice) -> float:
        """Largest at a = 0.25 and b = 0.1, of the composite `good`."""
        a, b = one.gammas.get("a", 1.0), one.gammas.get("b", 1.0)
        return (one.base == "good") - abs(a - 0.25) - abs(b - 0.1) - abs(a * b)


def search(budget: int) -> Search:
    def measure(choices: Sequence[Choice]) -> Any:
        return Landscape(choices)

    return Search(measure, Criterion({"abpc": 1.0, "rank": -2.0}), budget)


def test_each_part_takes_its_best_rule_until_nothing_is_better() -> None:
    found = search(100)
    told = list(found.run(["bad", "good"], ["a", "b"], (0.0, 0.1, 0.25, 0.5, 9.0)))
    assert found.best.choice == Choice("good", {"a": 0.25, "b": 0.1})
    assert [part for part, _ in told][:3] == ["composite", "a", "b"]
    assert found.best.value == pytest.approx(Landscape.height(found.best.choice) - 1)
    names = [trial.choice.name for trial in found.trials]
    assert len(names) == len(set(names))  # none is measured twice
    assert found.criterion.words() == "abpc − 2 rank"


def test_a_budget_ends_the_search_before_a_step_that_would_pass_it() -> None:
    found = search(6)
    list(found.run(["good"], ["a", "b"], (0.0, 0.25, 0.5)))
    assert len(found.trials) == 4
    assert found.best.choice == Choice("good", {"a": 0.0})  # of equals the first


def test_composites_that_cannot_be_measured_are_told() -> None:
    class Failing(Landscape):
        failed = {"good": "out of memory"}  # noqa: RUF012

        def summary(self) -> dict[str, dict[str, Mean]]:
            return {}

    found = Search(lambda choices: cast(Results, Failing(choices)), Criterion({"abpc": 1.0}), 9)
    with pytest.raises(ProgramError, match="no composite could be measured; good: out of memory"):
        list(found.run(["good"], ["a"], (0.0,)))


def test_a_figure_that_is_missing_is_the_worst() -> None:
    assert Criterion({"swap": 1.0}).of({"abpc": Mean(1.0, None, 1)}) == float("-inf")


def test_the_frontier_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    means = {name: Mean(0.25, 0.1, 3) for name in AXES}
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_frontier(tmp_path / folder, {"γ of a_1 $x_$": means}, {"other": means}, "γ")
    for kind in ("png", "svg"):
        first, second = (tmp_path / folder / f"frontier.{kind}" for folder in ("a", "b"))
        assert first.read_bytes() == second.read_bytes(), kind
    assert ">γ of a_1 $x_$<" in (tmp_path / "a" / "frontier.svg").read_text()


def test_choices_are_rules_of_their_part() -> None:
    one = Choice("epsilon").with_gamma("backbone.res2", 0.25).with_gamma("head", 0.0)
    assert one.name == "epsilon, backbone.res2 0.25, head 0"
    rules = one.rules()
    assert [r["module"] for r in rules] == ["backbone.res2|backbone.res2.*", "head|head.*"]
    assert {(r["rule"], r.get("gamma")) for r in rules} == {("gamma", 0.25), ("epsilon", None)}
    assert steps(one, "head", (0.0, 0.5)) == [one.with_gamma("head", 0.5)]


@pytest.fixture(scope="module")
def graph(programs: Programs) -> Graph:
    directory = programs.directory(DIGITS, COMPOSITE="epsilon", DYNAMIC=False)
    return read_graph(directory / "graph.lrp")


@pytest.mark.parametrize("most", [30, 8, 3, 1])
def test_parts_cover_all_weighted_maps_once(graph: Graph, most: int) -> None:
    parts = parts_of(graph, most)
    assert len(parts) <= max(most, 2)
    modules = {n.loc.module for n in graph.nodes if n.role in ("linear", "convolution")}
    for module in modules:
        inside = [part for part in parts if f"{module}.".startswith(f"{part}.")]
        assert len(inside) == 1, module
    if most == 30:
        assert {"backbone.res2", "backbone.res5"} <= set(parts)


def test_parts_of_a_model_inside_another_are_not_all_one() -> None:
    """As transformers nests them: everything lies in `model`."""
    maps = {"backbone.stages": 3, "encoder.layers": 2, "head": 1, "decoder.layers": 2, "tail": 1}
    names = [f"model.{part}.{n}" for part, count in maps.items() for n in range(count)]
    graph = SimpleNamespace(
        nodes=[SimpleNamespace(role="linear", loc=SimpleNamespace(module=name)) for name in names]
    )
    assert parts_of(graph, 3) == ["model.backbone", "model.encoder", "model.decoder"]  # type: ignore[arg-type]
    assert parts_of(graph, 1) == ["model"]  # type: ignore[arg-type]


@pytest.fixture(autouse=True, scope="module")
def compiled_once(programs: Programs) -> Iterator[None]:
    with programs.each_once():
        yield


def test_it_writes_a_composite_that_evaluate_takes(
    tmp_path: Path, programs: Programs, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes, out, held = EXAMPLE / "scenes", tmp_path / "out", tmp_path / "held"
    held.mkdir()
    for name in ("05.png", "05.instances.png"):
        shutil.copy(scenes / name, held)
    told = json.loads((scenes / "scenes.json").read_text())
    (held / "scenes.json").write_text(json.dumps([s for s in told if s["file"] == "05.png"]))
    fixed = ("LRPC.DYNAMIC", "false")
    words = ["tune", "--config", DIGITS, "--scenes", scenes, "-o", out, "--bases", "epsilon"]
    words += ["--gammas", "0,0.25", "--parts", "backbone.res2", "--limit", 2, "--steps", 2]
    words += ["--contrast", "mean", "--held-out", held]
    with programs.trace_of(DIGITS, DYNAMIC=False):
        assert main([*map(str, words), "--no-plot", *fixed]) == 0
    assert "composite.yaml holds it" in " ".join(capsys.readouterr().out.split())
    tuned = json.loads((out / "tuned.json").read_text())
    assert [one["rules"] for one in tuned["candidates"]] == [
        "epsilon", "epsilon, backbone.res2 0", "epsilon, backbone.res2 0.25"
    ]  # fmt: skip
    first, same, other = (one["criterion"] for one in tuned["candidates"])
    assert first == same != other  # the composite's own rule is ε there
    assert tuned["best"] == max(tuned["candidates"], key=lambda one: one["criterion"])["rules"]
    figures = tuned["held_out_figures"]
    assert {*figures} == {f"{one}, mean" for one in (tuned["best"], "epsilon")} | {
        "own_box", "own_mask"
    }  # fmt: skip
    assert {*tuned["held_out_differences"]} == {*figures} - {f"{tuned['best']}, mean"}
    written = yaml.safe_load((out / "composite.yaml").read_text())
    assert written["tuned"]["COMPOSITE"] == "epsilon"
    again = ["evaluate", "--config", DIGITS, "--variants", out / "composite.yaml", "--no-plot"]
    again += ["--scenes", scenes, "-o", tmp_path / "again", "--limit", 2, "--steps", 2]
    again += ["--contrast", "mean"]
    with programs.trace_of(DIGITS, DYNAMIC=False):
        assert main([*map(str, [*again, "--baselines", "none"]), *fixed, "--sensitivity"]) == 0
    figures = json.loads((tmp_path / "again" / "metrics.json").read_text())["summary"]
    figures = figures["tuned, mean"]
    best = next(one for one in tuned["candidates"] if one["rules"] == tuned["best"])
    assert figures["abpc"] == best["figures"]["abpc"]
    assert figures["class_correlation"] == best["figures"]["class_correlation"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bases", "gama"), "no composite 'gama'"),
        (("--gammas", "0,-1"), "numbers of at least 0"),
        (("--weights", "abcp=1"), "no figure 'abcp'"),
        (("--weights", "abpc"), "'abpc' is not NAME=NUMBER"),
        (("--weights", "abpc=nan"), "'abpc=nan' is not NAME=NUMBER"),
        (("--budget", "2"), "--budget 2: there are 4 composites to begin with (--bases)"),
        (("-o", __file__), "test_tune.py: cannot be made a folder (file exists)"),
        (("--held-out", str(EXAMPLE / "scenes")), "these are the images that are tuned on"),
    ],
)
def test_what_has_no_meaning_is_refused(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["tune", "--config", str(DIGITS), "--scenes", str(EXAMPLE / "scenes"), "--no-plot"]
    with suppress(SystemExit):  # argparse's own
        assert main([*given, *words]) == 2
    assert message in capsys.readouterr().err


def tune(out: Path, *words: object) -> int:
    given = ["tune", "--config", DIGITS, "--scenes", EXAMPLE / "scenes", "-o", out, "--no-plot"]
    given += ["--bases", "epsilon", "--limit", 2, "--steps", 2, *words, "LRPC.DYNAMIC", "false"]
    return main(list(map(str, given)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--parts", "bakbone"), "--parts: no linear map or convolution in 'bakbone'"),
        (("--held-out", "nowhere"), "nowhere: no such folder; --scenes takes"),
    ],
)
def test_what_the_model_and_the_folders_do_not_have_is_refused_before_the_search(
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    programs: Programs,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with programs.trace_of(DIGITS, DYNAMIC=False):
        assert tune(tmp_path / "out", *words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "composite: " not in said  # nothing was searched


def test_a_signal_ends_it_with_the_best_until_then(
    tmp_path: Path,
    programs: Programs,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def stopping(methods: Any, *given: Any, **more: Any) -> None:
        calls.append(methods)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        measure_all(methods, *given, **more)

    monkeypatch.setattr(command, "measure_all", stopping)
    words = ("--parts", "backbone.res2", "--gammas", "0.25")
    with programs.trace_of(DIGITS, DYNAMIC=False):
        assert tune(tmp_path / "out", *words) == 143
    last = capsys.readouterr().err.splitlines()[-1]
    assert "stopped by SIGTERM" in last
    assert "has the best of 1 candidate; run it again for the whole search" in last
    tuned = json.loads((tmp_path / "out" / "tuned.json").read_text())
    assert [one["rules"] for one in tuned["candidates"]] == ["epsilon"]
    written = yaml.safe_load((tmp_path / "out" / "composite.yaml").read_text())
    assert written == {"tuned": {"COMPOSITE": "epsilon", "RULES": []}}
