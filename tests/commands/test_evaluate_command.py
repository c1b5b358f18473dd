"""`lrpc evaluate` from end to end on the digits, and its errors as whole lines."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lrpc.cli import main
from lrpc.commands.evaluate.measuring import measure_all
from lrpc.commands.evaluate.methods import Random, Relevance
from lrpc.commands.evaluate.model import Picture, load_model
from lrpc.commands.evaluate.objects import find
from lrpc.commands.evaluate.perturb import Curve
from lrpc.commands.evaluate.plot import _band
from lrpc.commands.evaluate.results import METRICS
from lrpc.commands.evaluate.scenes import read_scenes
from lrpc.commands.evaluate.settings import BASELINES, STANDARD, TRIVIAL, Protocol, Settings
from lrpc.commands.session.metrics import localise
from lrpc.errors import ProgramError
from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import DIGITS, Programs

SCENES = EXAMPLE / "scenes"
QUICK = ("--limit", "2", "--steps", "3", "--ig-steps", "3", "--no-plot")
ONE_TARGET = ("LRPC.TARGETS", "[class_logit]", "LRPC.DYNAMIC", "false")
FIXED = {"TARGETS": ["class_logit"], "DYNAMIC": False}
VARIANTS = """\
flat_first:
  COMPOSITE: cp_lrp
  EPSILON: 0.001
  RULES:
    - {op: conv2d, rule: epsilon, eps: 0.1}
"""


def run(*words: object) -> int:
    return main(["evaluate", *map(str, words)])


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Path:
    """The output of one evaluation that does all there is, on two objects."""
    folder = tmp_path_factory.mktemp("everything")
    (folder / "variants.yaml").write_text(VARIANTS)
    words = ("--config", DIGITS, "--composites", "attnlrp", "--variants", folder / "variants.yaml")
    given = ("--scenes", SCENES, "-o", folder / "out", *QUICK, *ONE_TARGET)
    with programs.trace_of(DIGITS, DYNAMIC=False):
        assert run(*words, *given) == 0
    return folder / "out"


@pytest.fixture(autouse=True, scope="module")
def compiled_once(programs: Programs) -> Iterator[None]:
    """What `evaluate` compiles for several tests is the same program."""
    with programs.each_once():
        yield


def record(folder: Path) -> Any:
    return json.loads((folder / "metrics.json").read_text())


def test_every_method_is_measured_on_the_same_objects(everything: Path) -> None:
    found = record(everything)
    methods = ["attnlrp", "flat_first", *STANDARD, *TRIVIAL]
    assert list(found["summary"]) == methods
    names = ["02.png#1", "02.png#2"]
    assert [(o["method"], o["subject"]) for o in found["objects"]] == [
        (method, name) for method in methods for name in names
    ]
    assert [o["label"] for o in found["objects"][:2]] == [5, 8]
    assert found["explained"] == 2
    assert found["programs"]["flat_first"]["settings"]["EPSILON"] == 0.001
    # figures differ from method to method
    assert len({found["summary"][m]["abpc"]["mean"] for m in methods}) == len(methods)
    assert len({found["summary"][m]["positive_in_mask"]["mean"] for m in methods}) == len(methods)


def test_rules_of_a_variant_that_nothing_follows_are_named(
    tmp_path: Path, programs: Programs, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "mine: {COMPOSITE: cp_lrp, RULES: [{role: linear, module: bakbone.*, rule: gamma}]}\n"
    (tmp_path / "v.yaml").write_text(f"{text}plain: {{COMPOSITE: cp_lrp}}\n")
    words = ("--config", DIGITS, "--variants", tmp_path / "v.yaml", "--baselines", "none")
    given = ("--scenes", SCENES, "-o", tmp_path / "out", "--limit", "1", "--steps", "2")
    with programs.trace_of(DIGITS, DYNAMIC=False):
        assert run(*words, *given, "--no-plot", *ONE_TARGET) == 0
    (told,) = record(tmp_path / "out")["notes"]
    assert told.startswith(
        "mine: rule gamma (role linear, module bakbone.*) is not used: no operat"
    )
    assert "note: mine: rule gamma" in capsys.readouterr().err


def test_files_agree(everything: Path) -> None:
    found = record(everything)
    with (everything / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found["objects"])
    for row, one in zip(rows, found["objects"], strict=True):
        for name in METRICS:
            value = one["metrics"][name]
            assert row[name] == "" if value is None else float(row[name]) == value
        x0, y0, x1, y1 = one["box_image"]
        assert 0 <= x0 < x1 <= 160
        assert 0 <= y0 < y1 <= 160
    first, second = (one["metrics"]["deletion"] for one in found["objects"][:2])
    summary = found["summary"]["attnlrp"]["deletion"]
    assert summary["mean"] == pytest.approx((first + second) / 2)
    assert summary["error"] == pytest.approx(abs(first - second) / 2)
    assert sorted(path.name for path in everything.iterdir()) == ["metrics.csv", "metrics.json"]


def test_curves_run_from_the_whole_image_to_none_of_it(everything: Path) -> None:
    for one in record(everything)["objects"]:
        deletion, insertion = one["deletion"], one["insertion"]
        assert deletion["fractions"] == insertion["fractions"]
        assert deletion["fractions"] == [0, 44 / 400, 178 / 400, 1]
        assert deletion["scores"][0] == insertion["scores"][-1] == 1
        assert deletion["scores"][-1] == insertion["scores"][0] < 0.2  # nothing is seen in grey
        area = one["metrics"]["insertion"] - one["metrics"]["deletion"]
        assert one["metrics"]["abpc"] == area


def test_relevance_lies_on_digits_and_noise_does_not(everything: Path) -> None:
    for one in record(everything)["objects"]:
        ratio = one["metrics"]["positive_in_mask"] / one["metrics"]["mask_area"]
        if one["method"] == "random":
            assert 0.9 < ratio < 1.1
        elif one["method"] not in ("edges", "centre"):
            assert ratio > 2


HEAD = "sem_seg_head.predictor.class_embed"


@pytest.mark.parametrize(
    "parts", [[HEAD], pytest.param([HEAD, "backbone"], marks=pytest.mark.slow)], ids=len
)
def test_random_weights_change_the_map(
    tmp_path: Path, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--config", DIGITS, "--composites", "cp_lrp", "--baselines", "none", *QUICK)
    check = ("--randomise", ",".join(parts))
    given = ("--scenes", SCENES, "-o", tmp_path / "out", *ONE_TARGET)
    assert run(*words, *check, *given) == 0
    assert "times what it starts from" not in capsys.readouterr().err  # of the trained model alone
    found = record(tmp_path / "out")["randomisation"]
    assert list(found) == ["cp_lrp"]
    assert list(found["cp_lrp"]) == parts
    for means in found["cp_lrp"].values():
        assert abs(means["spearman"]["mean"]) < 0.5
        assert means["ssim"]["n"] == 2
        assert means["ssim"]["mean"] < 0.8  # a map is 1 like itself


def test_the_same_evaluation_gives_the_same_bytes(tmp_path: Path, programs: Programs) -> None:
    directory = programs.directory(DIGITS, COMPOSITE="cp_lrp", **FIXED)
    words = ("--scenes", SCENES, "--limit", "1", "--steps", "2", "--no-plot")
    for name in ("a", "b"):
        assert run(directory, *words, "-o", tmp_path / name) == 0
    for file in ("metrics.json", "metrics.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_figures_are_those_of_the_maps_and_the_model(programs: Programs) -> None:
    """One object measured by hand: the map, its shares, and the score with a patch gone."""
    directory = programs.directory(DIGITS, COMPOSITE="cp_lrp", **FIXED)
    model = load_model(directory, "cp", "cpu")
    settings = Settings(limit=1, steps=2, protocols=(Protocol(patch=80),), batch=2)
    found = find(model, read_scenes(SCENES), settings)
    (row,) = measure_all([Relevance(model, 1)], model, found.pictures, settings).rows
    picture = found.pictures[0]
    image, subject = picture.image.pixels, picture.subjects[0]
    state = model.program.forward(image[None])
    at = torch.tensor([[[subject.detection.query, 5]]])
    relevance = model.program.relevance(state, "class_logit", at=at).input[0, 0].sum(0)
    assert row.localisation == localise(relevance, subject.truth.mask, subject.truth.box)
    quarters = relevance.reshape(2, 80, 2, 80).sum((1, 3))
    y, x = divmod(int(quarters.argmax()), 2)
    assert (y, x) == (1, 0)  # where the 5 stands
    changed = image.clone()
    mean = torch.tensor(model.facts.sizing.mean)[:, None, None]
    changed[:, 80:, :80] = mean
    logits = model.program.forward(changed[None]).outputs["pred_logits"]
    assert row.deletion.fractions == (0.0, 0.25, 1.0)
    assert row.deletion.scores[1] <= float(logits[0, :, 5].sigmoid().max()) / row.score
    whole = float(state.outputs["pred_logits"][0, subject.detection.query, 5].sigmoid())
    assert row.score == pytest.approx(whole, abs=0.02)  # its box overlaps itself


class Signed:
    """Says that the quarter where the 5 stands supports it, and that another opposes it more."""

    name = "signed"

    def maps(self, pictures: Sequence[Picture]) -> list[list[torch.Tensor]]:
        value = torch.zeros(160, 160)
        value[80:, :80] = 1.0
        value[:80, 80:] = -2.0
        return [[value for _ in picture.subjects] for picture in pictures]


@pytest.mark.parametrize("order", ["signed", "absolute"])
def test_patches_go_by_sign_or_by_magnitude(programs: Programs, order: str) -> None:
    directory = programs.directory(DIGITS, COMPOSITE="cp_lrp", **FIXED)
    model = load_model(directory, "cp", "cpu")
    settings = Settings(steps=2, protocols=(Protocol(order, 80),), limit=1)
    found = find(model, read_scenes(SCENES), settings)
    box = found.pictures[0].subjects[0].truth.box
    assert box[1] > 80 > box[2]  # the 5 stands below, at the left
    (row,) = measure_all([Signed()], model, found.pictures, settings).rows
    gone = row.deletion.scores[1]  # a quarter of the image is
    assert gone < 0.1 if order == "signed" else gone > 0.6


class Broken:
    """A method of one's own that cannot explain."""

    name = "broken"

    def maps(self, pictures: Sequence[Picture]) -> list[list[torch.Tensor]]:
        raise ProgramError("relevance holds NaN", "and more")


def test_a_method_that_fails_is_left_out(programs: Programs) -> None:
    directory = programs.directory(DIGITS, COMPOSITE="cp_lrp", **FIXED)
    model, settings = load_model(directory, "cp", "cpu"), Settings(limit=1, steps=1)
    found = find(model, read_scenes(SCENES), settings)
    heard: list[str] = []
    measured = measure_all(
        [Broken(), Random(0)], model, found.pictures, settings, lambda name, _: heard.append(name)
    )
    assert dict(measured.failed) == {"broken": "relevance holds NaN"}
    assert [row.method for row in measured.rows] == ["random"]
    assert heard == ["broken", "random"]
    with pytest.raises(ProgramError, match="relevance holds NaN"):
        measure_all([Broken()], model, found.pictures, settings)


def test_curves_are_drawn(tmp_path: Path, programs: Programs) -> None:
    pytest.importorskip("matplotlib")
    directory = programs.directory(DIGITS, COMPOSITE="cp_lrp", **FIXED)
    words = ("--scenes", SCENES, "--limit", "2", "--steps", "2")
    assert run(directory, *words, "-o", tmp_path / "a") == 0
    with Image.open(tmp_path / "a" / "curves.png") as image:
        assert image.width > 1500
        assert len(image.convert("RGB").getcolors(10**6) or []) > 50
    text = (tmp_path / "a" / "curves.svg").read_text()
    for words in ("cp_lrp", "random", "deletion", "insertion", "ABPC"):
        assert words in text


def test_a_name_that_begins_with_an_underscore_is_in_the_legend() -> None:
    from matplotlib.figure import Figure

    axis = Figure().add_subplot()
    _band(axis, [Curve((0.0, 1.0), (1.0, 0.0))], "_hidden", 0)
    assert axis.get_legend_handles_labels()[1] == [" _hidden"]


def test_scenes_of_masks_give_what_the_digits_give(tmp_path: Path, programs: Programs) -> None:
    """The same objects in three forms, one of them COCO, and an image that cannot be read."""
    directory = programs.directory(DIGITS, COMPOSITE="cp_lrp", **FIXED)
    masks = tmp_path / "masks"
    masks.mkdir()
    shutil.copy(SCENES / "02.png", masks)
    annotations = []
    (scene,) = (s for s in read_scenes(SCENES) if s.path.name == "02.png")
    for number, truth in enumerate(scene.objects):
        mask = truth.outline.mask((160, 160))
        Image.fromarray(mask).save(masks / f"02.{truth.label}-{number}.mask.png")
        flat = mask.flatten(order="F").astype(int).tolist()
        counts, last = [0], 0
        for value in flat:
            if value != last:
                counts.append(0)
                last = value
            counts[-1] += 1
        assert truth.box is not None
        x0, y0, x1, y1 = truth.box
        annotations.append(
            {"id": number, "image_id": 2, "category_id": truth.label, "iscrowd": 0,
             "bbox": [x0, y0, x1 - x0, y1 - y0],
             "segmentation": {"size": [160, 160], "counts": counts}}
        )  # fmt: skip
    (masks / "00.png").write_text("no image")
    images = [{"id": 2, "file_name": "02.png"}]
    categories = [{"id": n, "name": str(n)} for n in range(10)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    words = ("--baselines", "none", *QUICK)
    assert run(directory, "--scenes", SCENES, "-o", tmp_path / "a", *words) == 0
    assert run(directory, "--scenes", masks, "-o", tmp_path / "b", *words) == 1
    more = ("--annotations", tmp_path / "coco.json")
    assert run(directory, "--scenes", masks, *more, "-o", tmp_path / "c", *words) == 0
    first, second, third = (record(tmp_path / name)["summary"]["cp_lrp"] for name in "abc")
    for name in first:
        assert second[name]["mean"] == pytest.approx(first[name]["mean"], rel=1e-4)
        assert third[name]["mean"] == pytest.approx(first[name]["mean"], rel=1e-4)
    assert "00.png: not an image" in record(tmp_path / "b")["failed"][0]


# -- errors ----------------------------------------------------------------------------------------


class Errors:
    """Runs `lrpc evaluate` and gives its one line on stderr; nothing may be written."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.output, self.capsys = folder / "out", capsys

    def __call__(self, *words: object) -> str:
        self.capsys.readouterr()
        assert run(*words, "-o", self.output) == 2
        said = self.capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert not self.output.exists()
        return said.err.removeprefix("error: ").removesuffix("\n")


@pytest.fixture
def error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Errors:
    return Errors(tmp_path, capsys)


def test_nothing_to_evaluate(error: Errors, tmp_path: Path) -> None:
    here = ("--scenes", SCENES, "--no-plot")
    said = "nothing to evaluate: name program directories, or --config FILE"
    assert error(*here) == said
    said = "--composites needs a model to compile: give --config FILE"
    assert error("build/a", *here, "--composites", "attnlrp") == said
    assert error("build/a", *here, "--randomise").startswith("--randomise needs a model")
    known = ", ".join(BASELINES)
    said = f"--baselines: no 'noise'; none, or some of {known}"
    assert error("build/a", *here, "--baselines", "noise") == said
    assert error(tmp_path / "no", *here).startswith(f"{tmp_path / 'no'}: not a directory;")


def test_scenes_that_are_none(error: Errors, tmp_path: Path) -> None:
    said = error("--config", DIGITS, "--scenes", tmp_path / "no", "--no-plot")
    assert said.startswith(f"{tmp_path / 'no'}: no such folder; --scenes takes a folder with")
    (tmp_path / "empty").mkdir()
    said = error("--config", DIGITS, "--scenes", tmp_path / "empty", "--no-plot")
    assert said.startswith(f"{tmp_path / 'empty'}: nothing is annotated here; --scenes takes")


def test_a_folder_that_cannot_be_one_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "closed").mkdir(mode=0o555)
    told = {
        "file": "file: cannot be made a folder (file exists)",
        "file/in": "file/in: cannot be made a folder (not a directory)",
        "long" * 80: "cannot be made a folder (file name too long)",
    }
    if os.getuid():
        told["closed/in"] = "closed/in: cannot be made a folder (permission denied)"
    for name, line in told.items():
        assert run("no", "--scenes", SCENES, "--no-plot", "-o", tmp_path / name) == 2
        assert capsys.readouterr().err.endswith(f"{line}\n"), name
    assert run("no", "--scenes", SCENES, "--no-plot", "-o", SCENES) == 2
    assert "the images are read from this folder" in capsys.readouterr().err


def test_candidates_that_are_none(error: Errors, tmp_path: Path) -> None:
    here = ("--config", DIGITS, "--scenes", SCENES, "--no-plot")
    assert "'attnlpr'" in error(*here, "--composites", "attnlpr")
    said = "two candidates are called 'epsilon'; rename one"
    assert error(*here, "--composites", "epsilon,epsilon") == said
    file = tmp_path / "variants.yaml"
    assert error(*here, "--variants", file) == f"{file}: no such file or directory; check the path"
    file.write_text("a: 3")
    said = f"{file}: a: expected keys such as COMPOSITE and RULES"
    assert error(*here, "--variants", file) == said
    file.write_text("a: {COMPOSIT: epsilon}")
    assert error(*here, "--variants", file).startswith("variant 'a': LRPC.COMPOSIT: unknown key")
    for name in ("", " ", "a\nb"):
        file.write_text(f"{json.dumps(name)}: {{COMPOSITE: epsilon}}")
        said = f"{file}: {name!r}: a name is one printable line; rename it"
        assert error(*here, "--variants", file) == said
    for text, said in {
        "a: {b: [": ":1:",
        "a: " + "[" * 99: ":1:35: nested more than 32 deep; flatten it",
        "a: {}\na: {}": ":2: a: given twice; remove one of the two",
        "a: !!python/name:os.system {}": ": the YAML tag !!python/name:os.system is never",
        "&a [*a]": ":1: a YAML alias contains itself; remove it",
        "a" * 300_000: ": larger than 262,144 bytes; check the path",
    }.items():
        file.write_text(text)
        assert error(*here, "--variants", file).startswith(f"{file}{said}")
    assert (
        error(*here, "--variants", "/dev/zero") == "/dev/zero: not a regular file; check the path"
    )


def test_programs_that_do_not_fit(error: Errors, programs: Programs, tmp_path: Path) -> None:
    boxes = programs.directory(DIGITS, COMPOSITE="cp_lrp", TARGETS=["box"], DYNAMIC=False)
    here = ("--scenes", SCENES, "--no-plot")
    assert error(boxes, *here) == (
        f"{boxes}: not compiled for the target class_logit (it has: box); add it to LRPC.TARGETS "
        "and compile again"
    )
    fine = programs.directory(DIGITS, COMPOSITE="cp_lrp", **FIXED)
    assert error(fine, *here, "--baselines", "rollout") == (
        "--baselines: rollout needs the model: give --config FILE"
    )
    assert error(fine, *here, "--score", "0.99").startswith(
        "none of 14 objects is detected with a score above 0.99 and IoU of 0.5 or more; lower"
    )
    other = tmp_path / "other"
    shutil.copytree(fine, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["weights"]["sha256"] = "0"
    (other / "manifest.json").write_text(json.dumps(manifest))
    assert error(fine, other, *here) == (
        f"{fine.name} and other have different weights; compare one model's programs"
    )


def test_no_matplotlib(error: Errors, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "matplotlib" else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    assert error("build/a", "--scenes", SCENES) == (
        "curves.png needs matplotlib, of the extra 'evaluate': pip install 'lrpc[evaluate]', or "
        "leave the pictures out with --no-plot"
    )


def test_help_names_the_extra(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--help")
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "pip install 'lrpc[evaluate]'" in said
    assert "--no-plot" in said


def test_a_mask_that_cannot_be_read_is_its_image_s_failure(
    tmp_path: Path, programs: Programs, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = programs.directory(DIGITS, COMPOSITE="cp_lrp", **FIXED)
    scenes = tmp_path / "scenes"
    shutil.copytree(SCENES, scenes)
    (scenes / "03.instances.png").write_bytes((SCENES / "03.instances.png").read_bytes()[:100])
    (scenes / "02.png").unlink()
    (scenes / "05.png").write_bytes(b"\0" * 10)
    words = ("--baselines", "none", "--steps", "3", "--no-plot")
    assert run(directory, "--scenes", scenes, "-o", tmp_path / "out", *words) == 1
    gone, masks, image = sorted(record(tmp_path / "out")["failed"])
    assert gone == f"{scenes}/02.png: cannot be read (no such file or directory)"
    assert "03.instances.png: not a mask that Pillow can read (corrupt or cut short" in masks
    assert image == f"{scenes}/05.png: not an image that Pillow can read"
    assert gone in capsys.readouterr().err


def test_a_signal_ends_it_with_the_methods_until_then(
    tmp_path: Path,
    programs: Programs,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory = programs.directory(DIGITS, COMPOSITE="cp_lrp", **FIXED)

    maps = Random.maps

    def stopping(*words: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return maps(*words)

    monkeypatch.setattr(Random, "maps", stopping)
    out = tmp_path / "out"
    words = (*QUICK, "--baselines", "random")
    assert run(directory, "--scenes", SCENES, "-o", out, *words) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("stopped by SIGINT: the figures are of 1 method, 1 left; run it again")
    found = record(out)
    assert (found["methods_left"], list(found["summary"])) == (["random"], ["cp_lrp"])
    monkeypatch.undo()
    assert run(directory, "--scenes", SCENES, "-o", tmp_path / "whole", *words) == 0
    whole = record(tmp_path / "whole")
    assert (whole["methods_left"], whole["summary"]["cp_lrp"]) == ([], found["summary"]["cp_lrp"])
