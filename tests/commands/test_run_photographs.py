"""A folder of photographs of many sizes through one program: detections are the model's own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from lrpc.cli import main
from lrpc.compiler import compile_config
from lrpc.config import load_config
from lrpc.models.maskdino.postprocess import Detections, detections
from tests.support.maskdino_cases import ALL_SCENES, digits_scenes, needs_all_scenes
from tests.support.programs import DIGITS, EXAMPLES, Programs

SHORTEST, LONGEST, STEP, SCORE, TOP = 192, 320, 32, 0.4, 5
KEYS = ["INPUT.MIN_SIZE_TEST", f"{SHORTEST}", "INPUT.MAX_SIZE_TEST", f"{LONGEST}"]
KEYS += ["LRPC.DYNAMIC", "true", "LRPC.TARGETS", "[class_logit]"]
SIZES = (  # height, width on disk
    *((192, 192), (192, 320), (320, 192), (200, 300), (300, 200), (240, 320), (320, 240)),
    *((211, 263), (263, 211), (480, 640), (427, 640), (640, 427), (333, 500), (500, 375)),
    (180, 400),
)


@dataclass(frozen=True)
class Photograph:
    """One of the folder: its name and its size on disk."""

    name: str
    size: tuple[int, int]


PHOTOGRAPHS = [Photograph(f"{n:02}", size) for n, size in enumerate(islice(cycle(SIZES), 20))]


def drawn(photograph: Photograph, number: int) -> Image.Image:
    """A part of a photograph with the digits of one scene on it, at about the size that the model
    was trained on once the image is as its inference takes it."""
    height, width = photograph.size
    ground = Image.open(EXAMPLES / "photo.jpg").convert("RGB")
    ground = ground.transpose(list(Image.Transpose)[number % 4])
    image = ground.resize((width, height), Image.Resampling.BICUBIC)
    scenes = digits_scenes(ALL_SCENES)
    times = min(height, width) / SHORTEST
    for n in (number, number + 7):
        file = ALL_SCENES / str(scenes[n % len(scenes)]["file"])
        scene = Image.open(file).convert("RGB")
        with Image.open(file.with_name(f"{file.stem}.instances.png")) as indexed:
            digits = Image.fromarray(np.asarray(indexed) > 0)
        size = (round(160 * times), round(160 * times))
        free = (max(width - size[0], 0), max(height - size[1], 0))
        place = (0, 0) if n == number else free
        image.paste(scene.resize(size), place, digits.convert("L").resize(size))
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("photographs")
    for number, photograph in enumerate(PHOTOGRAPHS):
        drawn(photograph, number).save(found / f"{photograph.name}.png")
    return found


@pytest.fixture(scope="module")
def output(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them by one `lrpc run` of one program."""
    made = tmp_path_factory.mktemp("made")
    compile_config(load_config(DIGITS, KEYS), made / "program")
    words = [f"--score={SCORE}", f"--top={TOP}", "--batch-size=4", "--device=cpu"]
    given = [str(made / "program"), "--images", str(folder), "-o", str(made / "out")]
    assert main(["run", *given, *words]) == 0
    return made / "out"


def own_size(height: int, width: int) -> tuple[int, int]:
    """detectron2's ResizeShortestEdge: the shorter edge becomes SHORTEST unless the longer passes
    LONGEST, and then that becomes LONGEST; rounded half up."""
    if height < width:
        high, wide = float(SHORTEST), SHORTEST / height * width
    else:
        high, wide = SHORTEST / width * height, float(SHORTEST)
    shrink = min(1.0, LONGEST / max(high, wide))
    return int(high * shrink + 0.5), int(wide * shrink + 0.5)


def by_the_model(model: Any, path: Path) -> tuple[Detections, tuple[int, int], tuple[int, int]]:
    """What the model predicts for an image: resized by Pillow, normalised, then padded with zeros
    to multiples of STEP; the sizes after the two."""
    image = Image.open(path).convert("RGB")
    resized = own_size(image.height, image.width)
    small = image.resize(resized[::-1], Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float()
    padded = (-(-resized[0] // STEP) * STEP, -(-resized[1] // STEP) * STEP)
    pixels = F.pad(model.normalize(pixels), (0, padded[1] - resized[1], 0, padded[0] - resized[0]))
    with torch.no_grad():
        outputs = model.sem_seg_head(model.backbone(pixels), None)
    (found,) = detections(outputs, padded, [resized], [(image.height, image.width)])
    return found, resized, padded


@pytest.mark.slow
@needs_all_scenes
@pytest.mark.parametrize("photograph", PHOTOGRAPHS, ids=lambda one: f"{one.name} {one.size}")
def test_detections_are_those_of_the_model(
    photograph: Photograph, folder: Path, output: Path, programs: Programs
) -> None:
    model = programs.model(DIGITS, torch.float32)
    own, resized, padded = by_the_model(model, folder / f"{photograph.name}.png")
    best = [int(i) for i in own.scores.argsort(descending=True) if own.scores[i] > SCORE][:TOP]
    told = json.loads((output / f"{photograph.name}.json").read_text())
    assert told["error"] is None
    image = told["image"]
    sizes = (image["original_size"], image["resized_to"], image["network_input"])
    assert sizes == (list(photograph.size), list(resized), list(padded))
    assert image["changed"] is None
    assert len(told["targets"]) == len(best) > 0
    height, width = photograph.size
    edges = own.boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
    for target, i in zip(told["targets"], best, strict=True):
        one = target["detection"]
        assert (one["query"], one["class"]) == (int(own.queries[i]), int(own.labels[i]))
        assert one["score"] == pytest.approx(float(own.scores[i]), abs=1e-4)
        assert one["box_image"] == pytest.approx(edges[i].tolist(), abs=2e-2)
        assert one["mask_pixels_image"] == pytest.approx(int(own.masks[i].sum()), abs=4)


@pytest.mark.slow
@needs_all_scenes
def test_the_folder_is_as_it_should_be(folder: Path, output: Path) -> None:
    sizes = {one.size for one in PHOTOGRAPHS}
    assert (len(PHOTOGRAPHS), len(sizes)) == (20, 15)
    assert any(height > width for height, width in sizes)
    frames = set()
    for path in output.glob("*.json"):
        frames.add(tuple(json.loads(path.read_text())["image"]["network_input"]))
    assert len(frames) >= 8
