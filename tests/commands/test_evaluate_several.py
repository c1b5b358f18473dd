"""`lrpc evaluate` on programs of several composites, and under several protocols."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from lrpc.cli import main
from lrpc.commands.evaluate.candidates import Candidate, Recipe, beyond_rules, compiled
from lrpc.commands.evaluate.explaining import explained
from lrpc.commands.evaluate.measuring import measure_all
from lrpc.commands.evaluate.methods import Relevance
from lrpc.commands.evaluate.model import Picture, load_models
from lrpc.commands.evaluate.objects import find
from lrpc.commands.evaluate.results import Results
from lrpc.commands.evaluate.scenes import read_scenes
from lrpc.commands.evaluate.settings import Protocol, Settings, grid
from lrpc.commands.session.members import Member
from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import DIGITS, SEVERAL, Programs

SCENES = EXAMPLE / "scenes"
QUICK = ("--limit", "1", "--steps", "2", "--no-plot")
ONE_TARGET = ("LRPC.TARGETS", "[class_logit]", "LRPC.DYNAMIC", "false")
RULES = [{"op": "conv2d", "rule": "epsilon", "eps": 1e-6, "first": True}]
VARIANTS = {
    "CP, ε 1e-3": {"COMPOSITE": "cp_lrp", "EPSILON": 1e-3, "RULES": RULES},
    "strong γ": {"COMPOSITE": "gamma", "GAMMA": {"LINEAR": 1.0}},
    "stopped": {"DETACH": "stop", "POSITION": "split"},
}


def run(*words: object) -> int:
    return main(["evaluate", *map(str, words)])


@pytest.fixture(autouse=True, scope="module")
def compiled_once(programs: Programs) -> Iterator[None]:
    """What `evaluate` compiles for several tests is the same program."""
    with programs.each_once():
        yield


def record(folder: Path) -> Any:
    return json.loads((folder / "metrics.json").read_text())


# -- candidates in one program ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> tuple[list[Member], ...]:
    """The same candidates compiled together, and each by itself."""
    recipe = Recipe(DIGITS, ONE_TARGET)
    candidates = [Candidate(name, options) for name, options in VARIANTS.items()]
    together, apart = (tmp_path_factory.mktemp(name) for name in ("together", "apart"))
    with programs.trace_of(DIGITS, DYNAMIC=False):
        shared = compiled(candidates, recipe, together, "cpu")
        single = [compiled([candidate], recipe, apart, "cpu")[0] for candidate in candidates]
    assert len(list(together.iterdir())) == 1
    return shared, single


def test_candidates_share_a_program(pair: tuple[list[Member], ...]) -> None:
    shared, single = pair
    assert [model.name for model in shared] == list(VARIANTS)
    assert shared[0].program is shared[1].program is shared[2].program
    for one, other in zip(shared, single, strict=True):
        ours, theirs = (replace(m.facts, places=shared[0].facts.places) for m in (one, other))
        assert ours == theirs  # composite, ε, settings, the config's digest
        assert one.facts.places.of["class_logit"] == other.facts.places.of["class_logit"]


@pytest.mark.parametrize(
    ("key", "value", "alone"),
    [
        ("EPSILON", 1e-3, False),
        ("BOX", {"LOW": 0.0}, False),
        ("PRECISION", "fp64", True),
        ("FOLD_BATCH_NORM", False, True),
        ("BOUNDARIES", ["encoder.input"], True),
        ("SEEDS", 2, True),
    ],
)
def test_what_is_more_than_rules_takes_a_program(key: str, value: object, alone: bool) -> None:
    recipe = Recipe(DIGITS, ("MODEL.WEIGHTS", ""))
    one = recipe.of(Candidate("a", {"COMPOSITE": "gamma"}))
    other = recipe.of(Candidate("b", {key: value}))
    assert (beyond_rules(one) != beyond_rules(other)) == alone


def test_results_are_those_of_separate_programs(pair: tuple[list[Member], ...]) -> None:
    """Maps and figures to the last bit."""
    shared, single = pair
    settings = Settings(limit=3, steps=2, batch=2)
    found = find(shared[0], read_scenes(SCENES), settings)
    assert len(found.pictures) == 2
    measured = []
    for models in pair:
        methods = [Relevance(model, settings.batch) for model in models]
        measured.append(measure_all(methods, models[0], found.pictures, settings))
        assert not measured[-1].failed
    assert measured[0].rows == measured[1].rows
    assert len({row.deletion for row in measured[0].rows}) > 3  # composites differ
    for one, other in zip(shared, single, strict=True):
        ours, theirs = (Relevance(m, 1).maps(found.pictures) for m in (one, other))
        for first, second in zip(ours, theirs, strict=True):
            assert torch.stack(first).abs().max() > 0
            assert torch.stack(first).equal(torch.stack(second))


def test_composites_of_a_program_share_its_forward_pass(
    pair: tuple[list[Member], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, _ = pair
    pictures = find(shared[0], read_scenes(SCENES), Settings(limit=3)).pictures
    calls: list[str] = []
    forward = Member.forward

    def counted(self: Member, *args: Any) -> Any:
        calls.append(self.name)
        return forward(self, *args)

    monkeypatch.setattr(Member, "forward", counted)
    results = list(explained([Relevance(model, 1) for model in shared], pictures))
    assert [one.method.name for one in results] == list(VARIANTS)
    assert calls == ["CP, ε 1e-3"] * len(pictures)


def test_a_composite_that_fails_leaves_the_others(
    pair: tuple[list[Member], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, _ = pair
    settings = Settings(limit=1, steps=1)
    pictures = find(shared[0], read_scenes(SCENES), settings).pictures
    wrong = replace(shared[1], composite="none")
    methods = [Relevance(model, 1) for model in (shared[0], wrong, shared[2])]
    measured = measure_all(methods, shared[0], pictures, settings)
    assert [row.method for row in measured.rows] == ["CP, ε 1e-3", "stopped"]
    assert measured.failed["strong γ"].startswith("this program has no composite 'none'")


# -- program directories ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def several(programs: Programs) -> Path:
    return programs.directory(DIGITS, **SEVERAL)


def test_a_program_is_evaluated_for_each_of_its_composites(
    tmp_path: Path, programs: Programs, several: Path
) -> None:
    words = ("--scenes", SCENES, *QUICK, "--baselines", "random")
    assert run(several, *words, "-o", tmp_path / "a") == 0
    found = record(tmp_path / "a")
    assert list(found["summary"]) == ["cp_lrp", "weak", "random"]
    assert found["programs"]["weak"]["composite"] == "weak"
    alone = programs.directory(DIGITS, COMPOSITE="cp_lrp", TARGETS=["class_logit"], DYNAMIC=False)
    assert run(alone, several, *words, "-o", tmp_path / "b") == 0
    both = record(tmp_path / "b")["summary"]
    one, more = alone.name, several.name
    assert list(both) == [one, f"{more}: cp_lrp", f"{more}: weak", "random"]
    assert both[one] == both[f"{more}: cp_lrp"] == found["summary"]["cp_lrp"]
    assert both[f"{more}: weak"] == found["summary"]["weak"] != found["summary"]["cp_lrp"]


def test_a_config_of_several_composites_gives_all_of_them(
    tmp_path: Path, programs: Programs, several: Path
) -> None:
    given = ("LRPC.COMPOSITE", SEVERAL["COMPOSITE"])
    words = ("--scenes", SCENES, *QUICK, "--baselines", "random")
    with programs.trace_of(DIGITS, DYNAMIC=False):
        assert run("--config", DIGITS, *words, "-o", tmp_path / "a", *ONE_TARGET, *given) == 0
    assert run(several, *words, "-o", tmp_path / "b") == 0
    assert record(tmp_path / "a")["objects"] == record(tmp_path / "b")["objects"]


def test_names_and_composites_that_do_not_fit(
    tmp_path: Path, several: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "variants.yaml"
    file.write_text("mine: {COMPOSITE: [epsilon, gamma]}")
    words = ("--scenes", SCENES, *QUICK, "-o", tmp_path / "out")
    assert run("--config", DIGITS, "--variants", file, *words) == 2
    assert capsys.readouterr().err == (
        "error: candidate 'mine' has several composites (epsilon, gamma); give it one COMPOSITE\n"
    )
    more = ("--config", DIGITS, "--composites", "cp_lrp", "--baselines", "none")
    assert run(several, *more, *words, *ONE_TARGET) == 2
    assert capsys.readouterr().err == (
        "error: two methods are called cp_lrp; rename the folder or the candidate of one\n"
    )
    assert not (tmp_path / "out").exists()


# -- protocols -------------------------------------------------------------------------------------


def test_one_run_of_a_grid_gives_what_single_runs_give(tmp_path: Path, several: Path) -> None:
    words = (several, "--scenes", SCENES, *QUICK, "--baselines", "random")
    asked = ("--order", "both", "--patch", "8,40", "--fill", "mean, blur")
    assert run(*words, *asked, "-o", tmp_path / "grid") == 0
    found = record(tmp_path / "grid")
    protocols = [
        {"order": order, "patch": patch, "fill": fill}
        for order, patch, fill in product(("signed", "absolute"), (8, 40), ("mean", "blur"))
    ]
    assert found["settings"]["protocols"] == protocols
    assert [{k: p[k] for k in protocols[0]} for p in found["protocols"]] == protocols
    for protocol in protocols[5:6]:
        single = [word for name, value in protocol.items() for word in (f"--{name}", value)]
        assert run(*words, *single, "-o", tmp_path / "one") == 0
        one = record(tmp_path / "one")
        chosen = [o for o in found["objects"] if protocol.items() <= o.items()]
        assert chosen == one["objects"]
        assert found["protocols"][protocols.index(protocol)]["summary"] == one["summary"]
    with (tmp_path / "grid" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found["objects"]) == 3 * 8
    for row, one in zip(rows, found["objects"], strict=True):
        assert (row["order"], row["patch"], row["fill"]) == (
            one["order"], str(one["patch"]), one["fill"]
        )  # fmt: skip
        assert float(row["abpc"]) == one["metrics"]["abpc"]


class Fixed:
    """A method of one's own that explains once."""

    def __init__(self, name: str, value: float) -> None:
        self.name, self.value, self.calls = name, value, 0

    def maps(self, pictures: Any) -> Any:
        self.calls += 1
        return [[p.image.pixels.sum(0) * self.value for _ in p.subjects] for p in pictures]


def test_maps_are_made_once_and_places_are_means(several: Path) -> None:
    model = load_models(several, "cpu")[0]
    settings = Settings(
        limit=2, steps=2, protocols=grid(("signed", "absolute"), (20, 80), ("mean",))
    )
    pictures: tuple[Picture, ...] = find(model, read_scenes(SCENES), settings).pictures
    methods = [Fixed("up", 1.0), Fixed("down", -1.0), Fixed("again", 1.0)]
    measured = measure_all(methods, model, pictures, settings)
    assert [method.calls for method in methods] == [1, 1, 1]
    results = Results(measured.rows, measured.seconds, measured.passes)
    assert results.protocols() == list(settings.protocols)
    means: dict[str, list[float]] = {"up": [], "down": [], "again": []}
    for protocol in results.protocols():
        own = [row for row in measured.rows if row.protocol == protocol]
        areas = {
            name: sum(float(r.metrics()["abpc"] or 0) for r in own if r.method == name) / 2
            for name in means
        }
        places = results.places(protocol)
        if protocol.order == "absolute":  # all three are the same map
            assert places == {"up": 2, "down": 2, "again": 2}
        else:
            assert places["up"] == places["again"] == (1.5 if areas["up"] > areas["down"] else 2.5)
            assert places["down"] == (3 if areas["up"] > areas["down"] else 1)
        for name in means:
            means[name].append(places[name])
    assert results.mean_places() == {name: sum(own) / 4 for name, own in means.items()}
    shares = results.summary()["up"]["rank"]
    assert shares == results.summary(Protocol("signed", 20))["up"]["rank"]  # objects count once
    assert shares.n == 2


def test_the_grid_is_printed_and_drawn(
    tmp_path: Path, several: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    words = ("--scenes", SCENES, "--limit", "1", "--steps", "1", "--patch", "8,80")
    assert run(several, *words, "-o", tmp_path / "out") == 0
    said = capsys.readouterr().out
    for words in ("signed, 8 px, mean", "signed, 80 px, mean", "over 2 protocols", "mean place"):
        assert words in said
    drawn = (tmp_path / "out" / "curves.svg").read_text()
    assert "deletion (signed, 8 px, mean)" in drawn
    assert "insertion (signed, 80 px, mean)" in drawn


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--order", "signed,up"), "argument --order: no 'up'; signed, absolute, or both"),
        (("--fill", "grey"), "argument --fill: no 'grey'; mean, blur, inpaint, or both"),
        (("--patch", "8,0"), "argument --patch: '0' is not a whole number from 1 to 1e+06"),
    ],
)
def test_protocols_that_are_none(
    words: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run("build/a", "--scenes", SCENES, *words)
    assert said in capsys.readouterr().err
