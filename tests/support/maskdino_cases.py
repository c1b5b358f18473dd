"""The models and images that tests of MaskDINO share."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor

from lrpc.models.maskdino import MaskDINO, build_maskdino
from lrpc.models.weights import load_weights

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
ALL_SCENES = Path(__file__).parents[1] / "data" / "digits_scenes"
"""All 24 scenes; `examples/digits` holds six of them."""

needs_all_scenes = pytest.mark.skipif(
    not ALL_SCENES.is_dir(), reason=f"the full set of digit scenes is not at {ALL_SCENES}"
)


def attributes(node: Any) -> Any:
    """Nested mappings as objects with attribute access, as detectron2's configurations are."""
    if isinstance(node, dict):
        return SimpleNamespace(**{key: attributes(value) for key, value in node.items()})
    return node


def golden_config(case: str) -> Any:
    """The configuration of one case in `data/golden`."""
    return attributes(yaml.safe_load((GOLDEN / f"{case}.yaml").read_text()))


@cache
def digits_model(dtype: torch.dtype = torch.float32) -> MaskDINO:
    """The trained digits model; do not change it, it is shared."""
    weights = load_weights(EXAMPLE / "maskdino_digits.safetensors")
    return build_maskdino(golden_config("digits"), weights).to(dtype)


def digits_golden() -> dict[str, Tensor]:
    """Outputs of the released code on two scenes."""
    with np.load(GOLDEN / "digits.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def digits_scenes(folder: Path = EXAMPLE / "scenes") -> list[dict[str, Any]]:
    """What is in every scene of `folder` and what the released code detects there."""
    scenes: list[dict[str, Any]] = json.loads((folder / "scenes.json").read_text())
    return scenes


def _scene_file(name: str) -> Path:
    example = EXAMPLE / "scenes" / name
    return example if example.is_file() else ALL_SCENES / name


def digits_image(name: str) -> Tensor:
    """One scene, RGB in 0–255: float32 [1, 3, 160, 160]."""
    with Image.open(_scene_file(f"{name}.png")) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def digits_instances(name: str) -> Tensor:
    """Index of the instance at every pixel, 0 for the background: int64 [160, 160]."""
    with Image.open(_scene_file(f"{name}.instances.png")) as image:
        return torch.from_numpy(np.asarray(image).astype(np.int64))
