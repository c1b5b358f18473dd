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

from lrpc.config import load_config
from lrpc.models.weights import load_weights

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
