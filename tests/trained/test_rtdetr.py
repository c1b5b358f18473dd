"""The small RT-DETR in `examples/rtdetr`: a trained detector of another family than MaskDINO."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lrpc.cli import main
from lrpc.compiler import compile_config
from lrpc.config import load_config
from lrpc.program.loading import load_program
from tools.bench.torchvision_ops import declare

declare()  # transformers imports torchvision
import transformers as library  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"
SCENES, SEED = 12, 31


@pytest.fixture(scope="module")
def digits() -> Iterator[Any]:
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield __import__("digit_scenes")
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def scenes(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of scans that the detector has not seen."""
    folder = tmp_path_factory.mktemp("scenes")
    digits.write(folder, SCENES, SEED)
    return folder


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rtdetr") / "program"
    compile_config(load_config(EXAMPLES / "rtdetr.yaml"), folder)
    return folder


def test_outputs_are_those_of_transformers(digits: Any, program: Path) -> None:
    model = library.RTDetrForObjectDetection.from_pretrained(EXAMPLES / "rtdetr").float().eval()
    random = digits.np.random.default_rng(SEED)
    made = [digits.scene(random, unseen=True).pixels for _ in range(4)]
    pixels = torch.stack([torch.from_numpy(one) for one in made]).permute(0, 3, 1, 2).float()
    images = torch.nn.functional.interpolate(pixels, (128, 128), mode="bilinear", antialias=True)
    with torch.no_grad():
        wanted = model(pixel_values=images / 255)
    found = load_program(program, "cpu").forward(images).outputs
    torch.testing.assert_close(found["pred_logits"], wanted.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["pred_boxes"], wanted.pred_boxes, rtol=1e-4, atol=1e-4)


def test_it_finds_digits_and_explains_them(program: Path, scenes: Path, tmp_path: Path) -> None:
    """Four fifths of the digits, and four fifths of what it finds is right, above a score of ½."""
    images = map(str, sorted(scenes.glob("???.png")))
    run = ["run", str(program), "--images", *images, "-o", str(tmp_path)]
    assert main([*run, "--target", "class_logit", "--top", "10"]) == 0
    right, given, objects = 0, 0, 0
    for row in json.loads((scenes / "scenes.json").read_text()):
        record = json.loads((tmp_path / row["file"]).with_suffix(".json").read_text())
        assert all(target["ledger"]["closure"] < 1e-4 for target in record["targets"])
        detections = [target["detection"] for target in record["targets"]]
        right += sum(matched(one, detections) for one in row["instances"])
        given, objects = given + len(detections), objects + len(row["instances"])
    assert objects > 25
    assert right / objects >= 0.8
    assert right / given >= 0.8


def matched(instance: dict[str, Any], detections: list[dict[str, Any]]) -> bool:
    """Whether a detection of the class overlaps the box with an IoU of ½; it counts once."""
    for one in detections:
        same = one["class_name"] == str(instance["digit"])
        if same and iou(one["box_image"], instance["box_xyxy"]) >= 0.5:
            detections.remove(one)
            return True
    return False


def iou(a: list[float], b: list[float]) -> float:
    sides = [max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])
