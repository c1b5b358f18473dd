"""Images of several sizes through one program: what is explained is what the model predicts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from lrpc.cli import main
from lrpc.commands.drawing import draw
from lrpc.commands.evaluate.methods import Relevance
from lrpc.commands.evaluate.model import load_model
from lrpc.commands.evaluate.objects import find
from lrpc.commands.evaluate.scenes import read_scenes
from lrpc.commands.evaluate.settings import Settings
from lrpc.commands.session import calls
from lrpc.models.maskdino.postprocess import Detections, detections
from lrpc.program.protocol import Size
from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import ANY_SIZE, DIGITS, Programs

SCORE, TOP = 0.3, 5


@dataclass(frozen=True)
class Photo:
    """A part of a scene, enlarged; the sizes that 160 / 160 and 32 mean for it, worked by hand."""

    scene: str
    part: tuple[int, int, int, int]  # x0, y0, x1, y1
    times: int
    resized: Size
    padded: Size


PHOTOS = (
    Photo("02", (0, 0, 160, 160), 1, (160, 160), (160, 160)),
    Photo("03", (0, 32, 160, 128), 1, (96, 160), (96, 160)),
    Photo("05", (32, 0, 128, 160), 1, (160, 96), (160, 96)),
    Photo("10", (0, 20, 160, 130), 3, (110, 160), (128, 160)),  # 330×480 on disk
    Photo("13", (10, 0, 140, 160), 2, (160, 130), (160, 160)),  # 320×260
    Photo("17", (0, 32, 160, 128), 1, (96, 160), (96, 160)),
)


def cut(photo: Photo, ending: str) -> Image.Image:
    image = Image.open(EXAMPLE / "scenes" / f"{photo.scene}{ending}").crop(photo.part)
    size = (image.width * photo.times, image.height * photo.times)
    return image.resize(size, Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def program(programs: Programs) -> Path:
    return programs.directory(DIGITS, **ANY_SIZE)


def _kept(scene: dict[str, Any]) -> dict[str, Any]:
    """A scene's entry with those of its digits that are in the part."""
    (photo,) = (photo for photo in PHOTOS if f"{photo.scene}.png" == scene["file"])
    left = set(np.unique(np.array(cut(photo, ".instances.png"))))
    kept = [one for one in scene["instances"] if one["label_in_instances_png"] in left]
    return scene | {"instances": kept}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos with their annotations, as `lrpc evaluate` reads them."""
    found = tmp_path_factory.mktemp("photos")
    listed = json.loads((EXAMPLE / "scenes" / "scenes.json").read_text())
    (found / "scenes.json").write_text(json.dumps([_kept(scene) for scene in listed]))
    for photo in PHOTOS:
        for ending in (".png", ".instances.png"):
            cut(photo, ending).save(found / f"{photo.scene}{ending}")
    return found


@dataclass
class Ran:
    """A run's files, what it said, and the sizes [B, 3, H, W] of its forward passes."""

    output: Path
    said: str
    passes: list[tuple[int, ...]] = field(default_factory=list)

    def record(self, photo: Photo) -> Any:
        return json.loads((self.output / f"{photo.scene}.json").read_text())

    def tensors(self, photo: Photo) -> dict[str, Tensor]:
        return load_file(self.output / f"{photo.scene}.relevance.safetensors")


@pytest.fixture(scope="module")
def ran(program: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """All photos by one `lrpc run`."""
    found = Ran(tmp_path_factory.mktemp("ran"), "")
    forward = calls.forward

    def noted(one: Any, facts: Any, pixels: Tensor, valid: Sequence[Size], device: str) -> Any:
        found.passes.append(tuple(pixels.shape))
        return forward(one, facts, pixels, valid, device)

    words = [f"--score={SCORE}", f"--top={TOP}", "--batch-size=4", "--device=cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lrpc.commands.session.members.forward", noted)
        patch.setattr("lrpc.commands.session.terminal.say", lambda _, text, *__: lines.append(text))
        lines: list[str] = []
        given = ["--images", str(folder), "-o", str(found.output), *words]
        assert main(["run", str(program), *given]) == 0
    found.said = "\n".join(lines)
    return found


def by_itself(model: nn.Module, photo: Photo) -> Detections:
    """What the model predicts for one photo: resized by Pillow, padded with zeros after it is
    normalised, and nothing masked, as the released code does at inference."""
    image = cut(photo, ".png").convert("RGB")
    small = image.resize(photo.resized[::-1], Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float()
    (bottom, right) = (p - r for p, r in zip(photo.padded, photo.resized, strict=True))
    padded = F.pad(model.normalize(pixels), (0, right, 0, bottom))
    with torch.no_grad():
        outputs = model.sem_seg_head(model.backbone(padded), None)
    size = (image.height, image.width)
    (found,) = detections(outputs, photo.padded, [photo.resized], [size])
    return found


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda photo: photo.scene)
def test_detections_are_those_of_the_model_by_itself(
    photo: Photo, ran: Ran, programs: Programs
) -> None:
    own = by_itself(programs.model(DIGITS, torch.float32), photo)
    best = [int(i) for i in own.scores.argsort(descending=True) if own.scores[i] > SCORE][:TOP]
    told, tensors = ran.record(photo), ran.tensors(photo)
    assert len(told["targets"]) == len(best) > 0
    height, width = own.masks.shape[1:]
    for target, i in zip(told["targets"], best, strict=True):
        one = target["detection"]
        assert (one["query"], one["class"]) == (int(own.queries[i]), int(own.labels[i]))
        assert one["score"] == pytest.approx(float(own.scores[i]), abs=1e-4)
        edges = own.boxes[i].clamp(min=0).minimum(torch.tensor([width, height, width, height]))
        assert one["box_image"] == pytest.approx(edges.tolist(), abs=1e-2)
        mask = tensors[f"masks/q{one['query']}-c{one['class']}"]
        assert int((mask != own.masks[i]).sum()) <= 2  # near zero its logit may fall either way
        assert one["mask_pixels_image"] == int(mask.sum()) > 0


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda photo: photo.scene)
def test_records_keep_sizes_and_maps_have_the_original_s(photo: Photo, ran: Ran) -> None:
    told, tensors = ran.record(photo), ran.tensors(photo)
    image = cut(photo, ".png")
    assert told["image"] == {
        "file": told["image"]["file"],
        "original_size": [image.height, image.width],
        "resized_to": list(photo.resized),
        "scale": [photo.resized[0] / image.height, photo.resized[1] / image.width],
        "network_input": list(photo.padded),
        "padded": photo.resized != photo.padded,
        "own_input": list(photo.padded),
        "changed": None,
        "frames": 1,
    }
    for target in told["targets"]:
        slug = target["tensors"][0].removesuffix("/input")
        assert set(target["tensors"]) <= set(tensors)
        inner, whole = tensors[f"{slug}/input"], tensors[f"{slug}/map"]
        assert (whole.shape[0], whole.shape[1]) == (image.height, image.width)
        height, width = photo.resized
        kept = inner[:, :height, :width].double().sum((1, 2)).sum()
        assert float(whole.double().sum()) == pytest.approx(float(kept), rel=1e-5, abs=1e-5)


def test_equal_sizes_are_one_batch(ran: Ran) -> None:
    sizes = {photo.padded for photo in PHOTOS}
    expected = [(sum(p.padded == s for p in PHOTOS), 3, *s) for s in sizes]
    assert sorted(ran.passes) == sorted(expected)


def test_padding_by_the_model_s_own_rule_is_told_and_is_no_warning(ran: Ran) -> None:
    told = (
        "note: 2 of 6 images are padded at the right and at the bottom, as the model's own"
        " inference pads them (10.png: to 128×160)"
    )
    assert told in ran.said
    warnings = [line for line in ran.said.splitlines() if "warning" in line]
    assert all("times what it starts from" in line for line in warnings)  # of logits near 0
    hatched = {}
    for photo in PHOTOS:
        panel = next(ran.output.glob(f"{photo.scene}.*.panel.png"))
        with Image.open(panel) as page:
            heat = np.asarray(page)[:, page.width // 3 : 2 * page.width // 3]
        lines = (heat == draw.SOFT).all(axis=-1)
        hatched[photo.scene] = int(lines.sum()) > 2000  # words under it are a few hundred
    assert hatched == {photo.scene: photo.resized != photo.padded for photo in PHOTOS}


def test_pictures_of_several_sizes_are_measured_as_each_alone(program: Path, folder: Path) -> None:
    model = load_model(program, "it", "cpu")
    settings = Settings(score=SCORE, match="mask", batch=4)
    classes = model.facts.classes
    scenes = read_scenes(folder, None, classes, count=len(classes), boxes=False, tell=print)
    found = find(model, scenes, settings)
    frames = [picture.frame for picture in found.pictures]
    assert frames == sorted(frames)
    assert len(set(frames)) > 2
    together = Relevance(model, 4).maps(found.pictures)
    for picture, maps in zip(found.pictures, together, strict=True):
        (alone,) = Relevance(model, 1).maps([picture])
        for one, other in zip(maps, alone, strict=True):
            assert one.shape == picture.frame
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def test_sums_over_tokens_start_with_those_of_each_image(
    folder: Path, programs: Programs, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    words = ["--which-module=encoder", "--layer-index=1", "--feature-index=3", "--batch-size=4"]
    words += ["--target-norm=sumT", "--device=cpu", "--config", str(DIGITS)]
    with programs.trace_of(DIGITS, DYNAMIC=True), programs.each_once():
        given = ["--images-dir", str(folder), "--output-csv", str(table), *words]
        assert main(["analyze", *given, "LRPC.DYNAMIC", "true"]) == 0
    told = json.loads(Path(f"{table}.json").read_text())
    assert told["request"]["starts_with"] == "21*H*W/1024"  # of strides 8, 16 and 32
    tokens = [21 * p.padded[0] * p.padded[1] / 1024 for p in PHOTOS]
    assert told["accounts"][0]["start"] == pytest.approx(sum(tokens) / len(tokens))
    shown = {f"{p.scene}.png": list(p.padded) for p in PHOTOS}
    assert {image["file"]: image["network_input"] for image in told["images"]} == shown
