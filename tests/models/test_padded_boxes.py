"""Boxes of images that are padded to a program's sizes, with the padding masked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lrpc
from lrpc.compiler import compile_config
from lrpc.config import default_config
from tests.support.family_models import FAMILIES
from tests.support.saved_models import MODELS, expected, save

EVERY = MODELS | FAMILIES


@pytest.mark.parametrize(
    "name",
    ["detr", *(pytest.param(n, marks=pytest.mark.slow) for n in ("deformable", "conditional"))],
)
def test_boxes_are_over_the_image_without_its_padding(tmp_path: Path, name: str) -> None:
    """The processor makes 144×96 of a portrait of 60×40, the program takes multiples of 32: what
    the model finds in 160×96 with the last rows masked is what transformers finds in 144×96."""
    folder = save(name, tmp_path, EVERY)
    settings = ["LRPC.SOURCE", f"transformers:{folder}", "LRPC.TARGETS", "[class_logit]"]
    compile_config(default_config([*settings, "LRPC.COMPOSITE", "epsilon"]), tmp_path / "p")
    photo = tmp_path / "portrait.png"
    noise = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)
    Image.fromarray(noise).resize((40, 60), Image.Resampling.BICUBIC).save(photo)
    program: Any = lrpc.load(tmp_path / "p")
    found = program.explain(photo, score=0.0, top=7, ledger=False)
    about = found.image(0)
    assert (about["valid_height"], about["input_height"]) == (144, 160)
    _, processor, _, outputs = expected(folder, photo, EVERY)
    (wanted,) = processor.post_process_object_detection(outputs, 0.0, [(60, 40)])
    left = {(int(c), *np.clip(b.tolist(), 0, [40, 60, 40, 60]).round(1)) for c, b in
            zip(wanted["labels"], wanted["boxes"], strict=True)}  # fmt: skip
    assert len(found) == 7
    for one in found:
        near = [w for w in left if w[0] == one.row["class"] and np.allclose(w[1:], one.box, atol=1)]
        assert near, (one.box, left)
