"""evaluate and analyze on models that are no MaskDINO: what is found again, and between what."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lrpc.cli import main
from lrpc.commands.evaluate.likeness import likeness
from lrpc.commands.evaluate.match import match
from lrpc.commands.evaluate.settings import TRIVIAL
from lrpc.commands.evaluate.truth import Framed
from lrpc.program.protocol import Detection
from tests.support.family_models import FAMILIES
from tests.support.saved_models import MODELS, save

PHOTO = Path(__file__).parents[2] / "examples" / "photo.jpg"


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The config of each model, written when it is asked for."""
    root = tmp_path_factory.mktemp("others")

    def made(name: str) -> Path:
        path = root / f"{name}.yaml"
        if not path.is_file():
            folder = save(name, root, MODELS | FAMILIES)
            path.write_text(f"LRPC: {{SOURCE: 'transformers:{folder}', COMPOSITE: attnlrp}}\n")
        return path

    return made


def scenes(folder: Path, label: str) -> Path:
    """The photograph with an object of each class, the left half of it."""
    folder.mkdir()
    with Image.open(PHOTO) as photo:
        photo.save(folder / "photo.png")
    mask = np.zeros((480, 640), dtype=np.uint8)
    mask[:, :320] = 255
    for number, name in enumerate(label.split()):
        Image.fromarray(mask).save(folder / f"photo.{name}-{number}.mask.png")
    return folder


MASK = np.zeros((8, 8), dtype=bool)
MASK[2:6, 2:6] = True
OBJECT = Detection(0, 1, 0.9, (2.0, 2.0, 6.0, 6.0), MASK)


def test_a_class_is_its_probability() -> None:
    logits = torch.randn(3)
    found = likeness({"logits": logits}, OBJECT, 1, (8, 8), 3)
    assert found.tolist() == pytest.approx([float(logits.softmax(0)[1])])


def test_pixels_of_a_class_have_the_mean_of_its_probability_over_the_object() -> None:
    logits = torch.randn(3, 4, 4)
    found = likeness(
        {"pixel_logits": logits, "region_logits": logits[:, 0, 0]}, OBJECT, 1, (8, 8), 3
    )
    shares = logits.softmax(0)[1, 1:3, 1:3]
    assert found.tolist() == pytest.approx([float(shares.mean())])


def test_masks_are_compared_where_there_are_no_boxes() -> None:
    """Of three queries one has the object's mask, one half of it, one nothing."""
    masks = torch.full((3, 4, 4), -1.0)
    masks[0, 1:3, 1:3], masks[1, 1:3, 1:2] = 1.0, 1.0
    outputs = {"pred_logits": torch.zeros(3, 2), "pred_masks": masks}
    assert likeness(outputs, OBJECT, 1, (8, 8), 2).tolist() == pytest.approx([0.5, 0.25, 0])


def test_a_class_of_an_image_is_given_to_one_object() -> None:
    whole = [Detection(0, label, 0.5, (0.0, 0.0, 8.0, 8.0), None) for label in (0, 1)]
    box = (2.0, 2.0, 6.0, 6.0)
    truths = [
        Framed(str(i), label, torch.from_numpy(MASK), box) for i, label in enumerate((1, 1, 0))
    ]
    found = match(truths, whole, 0.9, "class", of_classes=True)
    assert [one and one.label for one in found] == [1, None, 0]


@pytest.mark.parametrize("name", ["vit", pytest.param("segformer", marks=pytest.mark.slow),
    pytest.param("maskformer", marks=pytest.mark.slow)])  # fmt: skip
def test_evaluate(configs: Any, tmp_path: Path, name: str) -> None:
    words = ["evaluate", "--config", str(configs(name)), "-o", str(tmp_path / "out"), "--no-plot"]
    words += ["--scenes", str(scenes(tmp_path / "scenes", "cat dog bird"))]
    words += ["--score", "0.05", "--iou", "0.0", "--steps", "3", "--ig-steps", "3", "--pad"]
    assert main([*words, "LRPC.DYNAMIC", "false"]) == 0
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert not found["failed_methods"]
    methods = {"attnlrp", "gradient_input", "integrated_gradients", "smoothgrad", *TRIVIAL}
    assert {one["method"] for one in found["objects"]} - {"hirescam"} == methods
    assert found["explained"] >= (3 if name == "vit" else 1)


def test_bench_beside_the_model_in_its_folder(
    configs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, program = configs("vit"), tmp_path / "program"
    assert main(["compile", "--config", str(config), "-o", str(program)]) == 0
    folder = config.with_suffix("")
    words = ["bench", str(program), "--repeats", "1"]
    assert main(words) == 0
    assert "give --source transformers:FOLDER" in " ".join(capsys.readouterr().out.split())
    assert main([*words, "--source", f"transformers:{folder}"]) == 0
    assert "outputs differ from the model's by" in capsys.readouterr().out
    other = save("deit", tmp_path, FAMILIES)
    assert main([*words, "--source", f"transformers:{other}"]) == 2
    assert "not the weights that the program was compiled from" in capsys.readouterr().err


def test_analyze_between_layers_of_a_detector(configs: Any, tmp_path: Path) -> None:
    """Queries of the last layer from those of the layer before, and what the encoder gives."""
    out = tmp_path / "table.csv"
    (tmp_path / "images").mkdir()
    with Image.open(PHOTO) as photo:
        photo.resize((128, 96)).save(tmp_path / "images" / "photo.png")
    words = ["analyze", "--config", str(configs("conditional")), "--which-module", "decoder"]
    words += ["--layer-index", "1", "--feature-index", "0,3", "--output-csv", str(out)]
    words += ["--images-dir", str(tmp_path / "images"), "--composite", "attnlrp"]
    fixed = ["LRPC.DYNAMIC", "false", "LRPC.SHAPES", "[[96, 128]]"]
    assert main([*words, *fixed]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 7
    about = json.loads(out.with_name("table.csv.json").read_text())
    assert about["images_left"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sublayer", "self_attn", "--layer-index", "1"], "the whole is known, not the parts"),
        (["--layer-index", "2"], "the encoder has layers 0 to 1"),
    ],
)
def test_what_analyze_does_not_know(
    configs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    asked = ["analyze", "--config", str(configs("conditional")), "--which-module", "encoder"]
    asked += ["--feature-index", "0", "--output-csv", str(tmp_path / "t.csv"), *words]
    assert main([*asked, "--images-dir", str(PHOTO.parent)]) == 2
    errors = [e for e in capsys.readouterr().err.splitlines() if e.startswith("error")]
    assert len(errors) == 1
    assert said in errors[0]
