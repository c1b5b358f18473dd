"""Semantic and panoptic results in the records, tensors and pictures of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from lrpc.commands.compare.runner import ComparisonRunner
from lrpc.commands.run.runner import Runner
from lrpc.commands.session.facts import read_facts
from lrpc.commands.session.options import Options
from lrpc.commands.session.targets import parse_targets
from tests.support.run_fakes import HEIGHT, MANIFEST, WIDTH, FakeProgram, write_image

TEST = {"SEMANTIC_ON": True, "PANOPTIC_ON": True, "OBJECT_MASK_THRESHOLD": 0.5}


def program(test: Any = TEST, **lrpc: Any) -> FakeProgram:
    """Of three classes and masks."""
    config = MANIFEST["config"]
    model = {**config["MODEL"], "MaskDINO": {"TEST": test}, "SEM_SEG_HEAD": {"NUM_CLASSES": 3}}
    outputs = dict.fromkeys(("pred_logits", "pred_boxes", "pred_masks"), "f32[B,4]")
    own = {**config["LRPC"], **lrpc}
    return FakeProgram(config={**config, "MODEL": model, "LRPC": own}, outputs=outputs)


def test_records_have_segments_with_class_score_and_mask(tmp_path: Path) -> None:
    size = (2 * WIDTH, 2 * HEIGHT)
    image, out = write_image(tmp_path / "a.png", 250, size), tmp_path / "out"
    options = Options(out, targets=parse_targets([]), resume=True)
    for _ in range(2):
        (outcome,) = Runner(program(), tmp_path / "DIR", options).run([image], lambda _: None)
        assert outcome.error == ""
    assert outcome.note == "explained before"
    told = json.loads((out / "a.json").read_text())
    (first,) = told["panoptic"]["segments"]  # both queries have one mask: the likelier has it
    score = pytest.approx(1.0, abs=1e-3)
    tensors = load_file(out / told["tensors"])
    area = int((tensors["panoptic"] == 1).sum())
    assert tensors["panoptic"].shape == (2 * HEIGHT, 2 * WIDTH)
    assert first == {
        "id": 1, "class": 2, "name": None, "score": score, "area": area,
        "share_of_image": area / (4 * HEIGHT * WIDTH), "thing": True, "queries": [1],
    }  # fmt: skip
    semantic = told["semantic"]["segments"]
    assert sum(one["area"] for one in semantic) == 4 * HEIGHT * WIDTH
    numbers = {one["class"]: one["id"] for one in semantic}
    assert int(tensors["semantic"][HEIGHT, WIDTH]) == numbers[2]
    for kind in ("semantic", "panoptic"):
        with Image.open(out / told[kind]["file"]) as picture:
            pixels = np.asarray(picture).astype(int)
        assert np.ptp(pixels, axis=2).max() > 30  # coloured


def test_comparisons_have_them_too(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png", 250)
    options = Options(tmp_path / "out", targets=parse_targets([]))
    programs = {tmp_path / "A": program(), tmp_path / "B": program()}
    runner = ComparisonRunner(programs, options)
    runner.run([image], lambda _: None)
    told = runner.records[image]
    assert [one["class"] for one in told["panoptic"]["segments"]] == [2]
    assert {"semantic", "panoptic"} <= set(load_file(tmp_path / "out" / told["tensors"]))
    assert (tmp_path / "out" / told["panoptic"]["file"]).is_file()


def test_what_is_not_on_is_not_made(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png", 250)
    options = Options(tmp_path / "out", targets=parse_targets([]))
    Runner(program({"INSTANCE_ON": True}), tmp_path, options).run([image], lambda _: None)
    assert not {"semantic", "panoptic"} & set(json.loads((tmp_path / "out/a.json").read_text()))


def test_things_are_those_of_the_config_or_the_data_set() -> None:
    assert read_facts(program().manifest).results.things is None
    assert read_facts(program(THINGS=[1]).manifest).results.things == {1}
    trained = program()
    trained.manifest["config"]["DATASETS"] = {"TRAIN": ["coco_2017_train_panoptic"]}
    assert read_facts(trained.manifest).results.things == set(range(80))
    late = program({"SEMANTIC_ON": True})
    assert read_facts(late.manifest).results.resize_last
    other = read_facts(program(SOURCE="transformers:x").manifest).results
    assert not other.semantic
