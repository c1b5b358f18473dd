"""Images of several sizes through one program: what is explained is what the model predicts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
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
from lrpc.commands.compare.runner import ComparisonRunner
from lrpc.commands.evaluate.methods import Relevance
from lrpc.commands.evaluate.model import in_batches, load_model
from lrpc.commands.evaluate.objects import find
from lrpc.commands.evaluate.scenes import read_scenes
from lrpc.commands.evaluate.settings import Settings
from lrpc.commands.session import batches, calls
from lrpc.commands.session.facts import read_facts
from lrpc.commands.session.images import load_image
from lrpc.commands.session.options import Options
from lrpc.commands.session.original import spread
from lrpc.commands.session.sizing import Sizing, fit
from lrpc.errors import ProgramError
from lrpc.models.maskdino.postprocess import Detections, detections
from lrpc.program.protocol import Size
from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import DIGITS, Programs
from tests.support.run_fakes import MANIFEST, FakeProgram

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
    return programs.directory(DIGITS, DYNAMIC=True, TARGETS="[class_logit]")


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
    assert ran.said.endswith(
        "note: 2 of 6 images are padded at the right and at the bottom, as the model's own"
        " inference pads them (10.png: to 128×160)"
    )
    assert "warning" not in ran.said


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


def test_batches_are_of_neighbours_of_one_frame() -> None:
    @dataclass(frozen=True)
    class Item:
        name: str
        frame: Size

    def names(found: Iterable[list[Item]]) -> list[str]:
        return ["".join(item.name for item in some) for some in found]

    items = [Item(n, (32, 32 if n < "d" else 64)) for n in "abcdeab"]
    assert names(in_batches(items, 2)) == ["ab", "c", "de", "ab"]
    assert names(in_batches(iter(items), 9)) == ["abc", "de", "ab"]


def _step(step: int) -> dict[str, int]:
    return {"step": step, "example": 2 * step}


def varying(**changes: Any) -> dict[str, Any]:
    known = {"inputs": {"images": "f32[B,3,H,W]"}, "sizes": {"H": _step(32), "W": _step(64)}}
    return MANIFEST | known | changes


def test_larger_steps_pad_further() -> None:
    sizing = read_facts(varying()).sizing
    assert (sizing.steps, sizing.shapes) == ((32, 64), ())
    assert fit((64, 96), sizing) == ((32, 64), (32, 48))  # INPUT says 32 / 48
    assert fit((96, 64), sizing) == ((64, 64), (48, 32))


@pytest.mark.parametrize(
    ("edges", "steps"),
    [("H,H", {"H": _step(32)}), ("H,640", {"H": _step(32)}), ("H,W", {"H": _step(32)})],
)
def test_height_and_width_vary_each_on_its_own(edges: str, steps: dict[str, Any]) -> None:
    manifest = varying(inputs={"images": f"f32[B,3,{edges}]"}, sizes=steps)
    with pytest.raises(
        ProgramError, match=f"^images of this program are {'×'.join(edges.split(','))}; let"
    ):
        read_facts(manifest)


def test_programs_of_one_size_and_of_any_are_not_compared(tmp_path: Path) -> None:
    known = {Path("a"): FakeProgram(), Path("b"): FakeProgram(**varying())}
    message = "^b: takes images of another size than a; compile both with the same INPUT"
    with pytest.raises(ProgramError, match=message):
        ComparisonRunner(known, Options(tmp_path))
    twice = {Path("a"): FakeProgram(**varying()), Path("b"): FakeProgram(**varying())}
    assert len(ComparisonRunner(twice, Options(tmp_path)).members) == 2


def test_images_that_wait_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[list[str]] = []

    @dataclass(frozen=True)
    class Fake:
        path: Path
        frame: Size
        pixels: Tensor

    class Noting:
        def explain(self, images: Sequence[Any], items: Sequence[str]) -> list[str]:
            done.append(list(items))
            return list(items)

        def keep(self, image: Any, item: str, result: str) -> None: ...
        def fail(self, item: str, path: Path, error: str) -> None: ...

    def load(path: Path, _: Any) -> Any:
        return Fake(path, (1, int(path.name[1:])), torch.zeros(10, dtype=torch.uint8))

    monkeypatch.setattr(batches, "load_image", load)
    monkeypatch.setattr(batches, "WAITING", 30)
    names = ["a1", "b2", "c3", "d2", "e4", "f1"]
    sizing = read_facts(MANIFEST).sizing
    batches.process([(Path(name), name) for name in names], Noting(), sizing, 3)
    assert done == [["a1"], ["b2", "d2"], ["c3"], ["e4"], ["f1"]]


@pytest.mark.parametrize(
    ("before", "after"), [((3, 5), (7, 4)), ((4, 4), (4, 8)), ((6, 2), (1, 3))]
)
def test_maps_at_another_resolution_keep_what_each_part_holds(before: Size, after: Size) -> None:
    """Held against the least common grid, on which both resolutions are blocks."""
    values = torch.rand(before, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fine = values.repeat_interleave(after[0], 0).repeat_interleave(after[1], 1)
    fine = fine / (after[0] * after[1])
    blocks = fine.unflatten(1, (after[1], before[1])).unflatten(0, (after[0], before[0]))
    torch.testing.assert_close(spread(values, after), blocks.sum((1, 3)))


@pytest.mark.parametrize(
    ("shape", "masks", "left"),
    [
        ((32, 48), False, (32, 48)),  # the model's own padding, of 20 rows to 32
        ((64, 48), False, (32, 48)),  # and that of the program
        ((64, 48), True, (20, 48)),
        ((16, 48), False, (16, 38)),  # at another scale there is nothing of the model's own
    ],
)
def test_masks_leave_what_the_model_itself_does_not_mask(
    tmp_path: Path, shape: Size, masks: bool, left: Size
) -> None:
    Image.new("RGB", (48, 20)).save(tmp_path / "a.png")
    sizing = Sizing((shape,), 20, 0, (1.0, 2.0, 3.0), 16, masks=masks)
    assert load_image(tmp_path / "a.png", sizing).attended == left


def test_a_released_model_s_padding_is_not_masked() -> None:
    assert not read_facts(MANIFEST).sizing.masks
    own = MANIFEST["config"] | {"LRPC": {"SOURCE": "my.models:detector"}}
    assert read_facts(MANIFEST | {"config": own}).sizing.masks


def test_sums_over_tokens_start_with_those_of_each_image(
    folder: Path, programs: Programs, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    words = ["--which-module=encoder", "--layer-index=1", "--feature-index=3", "--batch-size=4"]
    words += ["--target-norm=sumT", "--device=cpu", "--config", str(DIGITS)]
    with programs.each_once():
        given = ["--images-dir", str(folder), "--output-csv", str(table), *words]
        assert main(["analyze", *given, "LRPC.DYNAMIC", "true"]) == 0
    told = json.loads(Path(f"{table}.json").read_text())
    assert told["request"]["starts_with"] == "21*H*W/1024"  # of strides 8, 16 and 32
    tokens = [21 * p.padded[0] * p.padded[1] / 1024 for p in PHOTOS]
    assert told["accounts"][0]["start"] == pytest.approx(sum(tokens) / len(tokens))
    shown = {f"{p.scene}.png": list(p.padded) for p in PHOTOS}
    assert {image["file"]: image["network_input"] for image in told["images"]} == shown
