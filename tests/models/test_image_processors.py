"""The files of an image processor: followed, or refused where what they ask for is not followed."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lrpc.commands.session.facts import read_facts
from lrpc.commands.session.images import load_image
from lrpc.config import default_config
from lrpc.config.node import Config
from lrpc.errors import ConfigError
from lrpc.models.processor import as_described
from tests.support.saved_models import library

PHOTO = Path(__file__).parents[2] / "examples" / "photo.jpg"
SIZE = {"height": 64, "width": 48}
PLAIN = {"size": SIZE, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.3, 0.2, 0.25]}


def described(file: Path, labels: Any = None, *keys: str, **settings: Any) -> Config:
    """A config with what an image processor's file with these settings says."""
    file.write_text(json.dumps(PLAIN | settings))
    model = SimpleNamespace(model_type="vit", id2label=labels or {0: "cat", 1: "dog"})
    return as_described(default_config(["LRPC.SOURCE", "transformers:folder", *keys]), model, file)


def pixels(config: Config) -> torch.Tensor:
    facts = read_facts(
        {"inputs": {"images": "f32[B,3,64,48]"}, "config": config.to_dict(portable=True)}
    )
    image = load_image(PHOTO, facts.sizing).pixels
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in (config.MODEL.PIXEL_MEAN, config.MODEL.PIXEL_STD)
    )
    return (image - mean) / std


@pytest.mark.parametrize("resample", range(6))
def test_every_filter(tmp_path: Path, resample: int) -> None:
    made = pixels(described(tmp_path / "preprocessor_config.json", resample=resample))
    processor = _pil("vit", "ViT")(**PLAIN, resample=resample)
    wanted = processor(images=_photo(), return_tensors="pt")["pixel_values"][0]
    assert float((made - wanted).abs().max()) < 1e-4


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"include_top": False},
        {"rescale_offset": True, "rescale_factor": 1 / 127.5},
        {"do_normalize": False},
        {"do_normalize": False, "rescale_offset": True},
        {"do_rescale": False},
    ],
)
def test_what_an_efficientnet_takes(tmp_path: Path, more: dict[str, Any]) -> None:
    """Its processor divides twice by the deviation, and may move pixels to −1 … 1."""
    processor = _pil("efficientnet", "EfficientNet")(**PLAIN, resample=2, **more)
    wanted = processor(images=_photo(), return_tensors="pt")["pixel_values"][0]
    processor.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    made = pixels(described(tmp_path / "preprocessor_config.json", **settings))
    assert float((made - wanted).abs().max() / wanted.abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"resample": 9}, "resample: expected a filter of Pillow, 0 to 5, got 9"),
        ({"resample": "bilinear"}, "resample: expected a filter of Pillow"),
        ({"do_grayscale": True}, "do_grayscale changes images, which is not followed"),
        ({"keep_aspect_ratio": True}, "keep_aspect_ratio resizes by one edge's scale, which is"),
        ({"do_pad": True, "pad_size": SIZE}, "pad_size pads images, which is not followed"),
        ({"do_resize": False}, "do_resize false leaves images at their own sizes, which is not"),
        ({"ensure_multiple_of": 32}, "size: 48 is not a multiple of ensure_multiple_of, 32"),
        ({"labels": {0: "a", 2: "b"}}, "id2label of its config.json names other classes than 0 to"),
    ],
)
def test_what_is_not_followed_is_refused(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as error:
        described(tmp_path / "preprocessor_config.json", **settings)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_what_does_not_matter_or_is_set_is_taken(tmp_path: Path) -> None:
    file, own = tmp_path / "preprocessor_config.json", ("LRPC.CLASS_NAMES", "[a, b]")
    described(file, do_convert_rgb=True, do_pad=True, pad_size=None, ensure_multiple_of=16)
    assert described(file, {1: "x", 2: "y"}, *own).LRPC.CLASS_NAMES == ("a", "b")
    assert described(file, None, "LRPC.RESIZE", "exact", do_resize=False).LRPC.RESIZE == "exact"


def _photo() -> Any:
    from PIL import Image

    return Image.open(PHOTO).convert("RGB")


def _pil(family: str, name: str) -> Any:
    assert library  # imported with the operators of torchvision that it asks for
    path = f"transformers.models.{family}.image_processing_pil_{family}"
    return getattr(importlib.import_module(path), f"{name}ImageProcessorPil")
