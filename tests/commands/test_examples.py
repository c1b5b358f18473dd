"""The shipped examples say what they claim to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lrpc.compiler import compile_config
from lrpc.config import load_config
from lrpc.models.maskdino import MaskDINOSpec
from lrpc.models.weights import load_weights
from lrpc.program.loading import load_program

EXAMPLES = Path(__file__).parents[2] / "examples"
DATA = Path(__file__).parents[1] / "data"


def assert_covers(config: Any, settings: dict[str, Any]) -> None:
    for key, value in settings.items():
        if isinstance(value, dict):
            assert_covers(config[key], value)
        elif key != "WEIGHTS":
            assert config[key] == (tuple(value) if isinstance(value, list) else value), key


@pytest.mark.parametrize(
    ("example", "settings"),
    [
        ("maskdino_r50_coco.yaml", DATA / "golden" / "3s.yaml"),
        ("maskdino.yaml", DATA / "digits_config.yaml"),
    ],
)
def test_example_is_the_configuration_of_the_golden_outputs(example: str, settings: Path) -> None:
    config = load_config(EXAMPLES / example)
    assert_covers(config, yaml.safe_load(settings.read_text()))


NARROW = {
    "SWIN.EMBED_DIM": 8, "SWIN.DEPTHS": [1, 2, 1, 1], "SWIN.NUM_HEADS": [1, 2, 2, 4],
    "SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 1, "SEM_SEG_HEAD.DIM_FEEDFORWARD": 16,
    "MaskDINO.DEC_LAYERS": 1, "MaskDINO.DIM_FEEDFORWARD": 16, "MaskDINO.NUM_OBJECT_QUERIES": 5,
}  # fmt: skip


def test_swin_example_is_a_swin_l_and_compiles_with_few_channels(tmp_path: Path) -> None:
    example = EXAMPLES / "maskdino_swinl_coco.yaml"
    spec = MaskDINOSpec.from_config(load_config(example))
    assert spec.backbone.channels("res5") == 1536
    keys = [x for key, value in NARROW.items() for x in (f"MODEL.{key}", str(value))]
    sizes = ["LRPC.SHAPES", "[[64,96]]", "LRPC.DYNAMIC", "false", "LRPC.TARGETS", "[class_logit]"]
    report = compile_config(load_config(example, [*keys, *sizes]), tmp_path / "out")
    assert "the weights are RANDOM" in " ".join(report.notes)
    program = load_program(tmp_path / "out", "cpu")
    x = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255
    found = program.relevance(program.forward(x), "class_logit", at=[(1, 17)])
    assert float(found.input.abs().max()) > 0
    assert len(found.layers) >= len(spec.backbone.places)


def test_digits_weights_are_where_the_example_looks() -> None:
    config = load_config(EXAMPLES / "maskdino.yaml")
    assert Path(config.MODEL.WEIGHTS) == EXAMPLES / "digits" / "maskdino_digits.safetensors"
    weights = load_weights(config.MODEL.WEIGHTS)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}


@pytest.mark.parametrize("folder", [EXAMPLES / "digits" / "scenes", DATA / "digits_scenes"])
def test_scenes_match_their_description(folder: Path) -> None:
    for scene in json.loads((folder / "scenes.json").read_text()):
        with Image.open(folder / scene["file"].replace(".png", ".instances.png")) as image:
            labels = np.unique(np.asarray(image))
        listed = {instance["label_in_instances_png"] for instance in scene["instances"]}
        assert set(labels.tolist()) == {0} | listed
        with Image.open(folder / scene["file"]) as image:
            assert image.size == (160, 160)


def test_photo() -> None:
    path = EXAMPLES / "photo.jpg"
    with Image.open(path) as image:
        assert (image.size, image.mode) == ((640, 480), "RGB")
    assert path.stat().st_size < 150_000
    assert "photo.jpg" in (EXAMPLES / "ATTRIBUTION.md").read_text()
