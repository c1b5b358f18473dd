"""Models of transformers of many families: what is explained is what transformers predicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import lrpc
from lrpc.cli import main
from lrpc.commands.session.facts import read_facts
from lrpc.commands.session.images import load_image
from lrpc.commands.session.original import in_network, original_box, original_map
from lrpc.compiler import compile_config
from lrpc.config import Config, default_config
from lrpc.errors import ConfigError
from lrpc.models.pretrained import read_described
from lrpc.models.sources import build_model
from tests.support.family_models import FAMILIES
from tests.support.saved_models import expected, save

PHOTO = Path(__file__).parents[2] / "examples" / "photo.jpg"
PROMPT = "cat. traffic light."
TEXTS = {"gdino": PROMPT}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of each model, made when it is asked for."""
    root = tmp_path_factory.mktemp("families")
    return lambda name: root / name if (root / name).is_dir() else save(name, root, FAMILIES)


def keys(folder: Path, *more: str) -> list[str]:
    text = ["LRPC.TEXT", TEXTS[folder.name]] if folder.name in TEXTS else []
    return ["LRPC.SOURCE", f"transformers:{folder}", *text, *more]


def run(
    folder: Path, out: Path, *options: str, photo: Path = PHOTO, settings: tuple[str, ...] = ()
) -> Any:
    """The record of the photograph that `lrpc run` writes with a program of the folder's model."""
    fast = ("LRPC.COMPOSITE", "attnlrp", "LRPC.DYNAMIC", "false", *settings)
    compile_config(default_config(keys(folder, *fast)), out / "program", check=False)
    found = ["run", str(out / "program"), "--images", str(photo), "-o", str(out / "run")]
    assert main([*found, *options]) == 0
    return json.loads((out / "run" / "photo.json").read_text())


BOXES = ["conditional", "dab", "rtdetr2", "dfine", "rfdetr", "gdino"]
BRIEF = {"conditional", "dfine", "gdino"}


@pytest.mark.parametrize(
    "name", [n if n in BRIEF else pytest.param(n, marks=pytest.mark.slow) for n in BOXES]
)
def test_detections_are_those_of_transformers(folders: Any, tmp_path: Path, name: str) -> None:
    """A processor that keeps the aspect ratio makes 96×128 of 480×640."""
    folder, score, photo = folders(name), {"rfdetr": 0.005}.get(name, 0.2), PHOTO
    if name == "gdino":  # its queries are near-ties: the pixels must be the same
        with Image.open(PHOTO) as image:
            image.resize((128, 96)).save(tmp_path / "photo.png")
        photo = tmp_path / "photo.png"
    shape = ("LRPC.SHAPES", "[[96, 128]]") if name in ("conditional", "dab", "gdino") else ()
    settings = (*shape, "LRPC.TARGETS", "[class_logit]")
    record = run(
        folder, tmp_path, "--score", str(score), "--top", "7", photo=photo, settings=settings
    )
    _, processor, inputs, outputs = expected(folder, photo, FAMILIES, TEXTS.get(name, ""))
    size = (96, 128) if name == "gdino" else (480, 640)
    if name == "gdino":
        found = processor.post_process_grounded_object_detection(
            outputs, inputs["input_ids"], score, 0.0, target_sizes=[size]
        )
    else:
        found = processor.post_process_object_detection(outputs, score, [size])
    wanted = {key: found[0][key] for key in ("scores", "boxes")}
    order = wanted["scores"].argsort(descending=True)[:7]
    mine = [target["detection"] for target in record["targets"]]
    if name == "gdino":  # whose probabilities are all but 1
        order = order[wanted["boxes"][order][:, 0].argsort()]
        mine = sorted(mine, key=lambda one: float(one["box_image"][0]))
    assert len(mine) == len(order) > 0
    np.testing.assert_allclose([o["score"] for o in mine], wanted["scores"][order], atol=2e-3)
    boxes = wanted["boxes"][order].clamp(torch.zeros(4), torch.tensor([*size, *size])[[1, 0, 1, 0]])
    np.testing.assert_allclose([o["box_image"] for o in mine], boxes, atol=3)
    names = ("cat", "traffic light") if name == "gdino" else ("cat", "dog", "bird")
    labels = [o["class"] for o in mine]
    assert [o["class_name"] for o in mine] == [names[i] for i in labels]
    if name != "gdino":
        assert labels == found[0]["labels"][order].tolist()
    assert all(target["ledger"]["closure"] < 1e-4 for target in record["targets"])


def test_a_phrase_has_the_logit_of_its_best_token(folders: Any) -> None:
    model = build_model(described(folders("gdino")))[0]
    images = torch.rand(1, 3, 96, 128) * 255
    found = model(images)
    tokens = found["token_logits"]  # [CLS] cat . traffic light . [SEP]
    assert tokens.shape == (1, 7, 7)
    best = torch.stack([tokens[..., 1], tokens[..., 3:5].amax(-1)], -1)
    torch.testing.assert_close(found["pred_logits"], best)


def test_an_image_is_padded_as_the_processor_does(folders: Any, tmp_path: Path) -> None:
    """Black below it; a query is an instance of its best class, scored at the size on disk."""
    folder = folders("eomt")
    record = run(folder, tmp_path, "--score", "0.1", "--top", "7")
    assert record["image"]["padded"]
    assert record["image"]["changed"] is None
    _, processor, _, outputs = expected(folder, PHOTO, FAMILIES)
    (found,) = processor.post_process_instance_segmentation(outputs, [(480, 640)], threshold=0.1)
    wanted = sorted((-one["score"], one["label_id"]) for one in found["segments_info"])
    mine = [target["detection"] for target in record["targets"]]
    assert [one["class"] for one in mine] == [label for _, label in wanted]
    np.testing.assert_allclose([-one["score"] for one in mine], [s for s, _ in wanted], atol=5e-3)


@pytest.mark.parametrize("name", ["segformer", pytest.param("upernet", marks=pytest.mark.slow)])
def test_regions_are_those_of_transformers(folders: Any, tmp_path: Path, name: str) -> None:
    """Classes by area on disk, and the mean logit of a class where it is the largest."""
    folder = folders(name)
    record = run(folder, tmp_path, "--score", "0.1", "--target", "class_region")
    _, processor, _, outputs = expected(folder, PHOTO, FAMILIES)
    (wanted,) = processor.post_process_semantic_segmentation(outputs, [(480, 640)])
    counts = torch.bincount(wanted.flatten(), minlength=3)
    mine = {t["detection"]["class"]: t for t in record["targets"]}
    assert list(mine) == [int(i) for i in counts.argsort(descending=True) if counts[i]]
    logits = outputs.logits[0]
    for label, target in mine.items():
        assert abs(target["detection"]["mask_pixels_image"] - int(counts[label])) < 3000
        own = logits.argmax(0) == label
        if own.sum() > 50:
            assert target["value"] == pytest.approx(float(logits[label][own].mean()), abs=5e-3)


def described(folder: Path) -> Config:
    return read_described(default_config(keys(folder)))


def start_of(outputs: dict[str, Tensor]) -> tuple[str, tuple[int, ...]]:
    """An output to explain, and one of its entries."""
    name = next(n for n in ("region_logits", "pred_logits", "logits") if n in outputs)
    return name, (3, 1) if name == "pred_logits" else (1,)


#: DAB-DETR computes its positions in float32. Torch's attention is wrong where the mask is of
#: another precision than the rest, as that of EoMT is in float64.
SINGLE = {"dab", "eomt"}
ORACLES = [name for name in FAMILIES if name not in ("convnext", "deit", "resnet")]
SLOW = {"dab", "rtdetr2", "rfdetr", "upernet", "dpt", "conditional", "dfine"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in ORACLES]
)
def test_forward_and_gradient_are_the_model_s(folders: Any, name: str) -> None:
    """On other images and more of them."""
    dtype, near = (torch.float32, 2e-4) if name in SINGLE else (torch.float64, 1e-10)
    model: nn.Module = build_model(described(folders(name)))[0].to(dtype)
    torch.manual_seed(0)
    size = (64, 64) if name in ("eomt", "dpt", "rfdetr") else (64, 96)
    given = torch.rand(4, 3, *size, dtype=dtype) * 255
    program = lrpc.compile(model, {"images": given[:1]}, composite="gradient_input")
    images = given[1:]
    state, outputs = program.forward(images), model(images)
    for key, value in outputs.items():
        torch.testing.assert_close(state.outputs[key], value, rtol=near, atol=near)
    start, at = start_of(outputs)
    found = program.relevance(state, start, at=[at], ledger=True)
    assert found.ledger is not None
    assert float(found.ledger.closure.max()) < near
    images.requires_grad_(True)
    (slope,) = torch.autograd.grad(model(images)[start][(slice(None), *at)].sum(), images)
    wanted = images.detach() * slope
    near = max(near, 1e-8)
    scale = float(wanted.abs().max())
    torch.testing.assert_close(found.input[0], wanted, rtol=near, atol=near * scale)


@pytest.mark.parametrize(
    ("name", "window"),
    [("convnext", (26, 106, 421, 422)), ("deit", (48, 64, 384, 512)),
     ("resnet", (48, 127, 384, 386))],
)  # fmt: skip
def test_the_centre_is_cut_out_as_the_processor_does(
    folders: Any, name: str, window: tuple[float, ...]
) -> None:
    """The shorter edge, or both, resized to more than the model takes; `window` is what of
    the image on disk is seen."""
    config = described(folders(name))
    manifest = {"inputs": {"images": "f32[B,3,64,64]"}, "config": config.to_dict(portable=True)}
    image = load_image(PHOTO, read_facts(manifest).sizing)
    _, _, inputs, _ = expected(folders(name), PHOTO, FAMILIES)
    made = build_model(config)[0].normalize(image.pixels[None])  # type: ignore[operator]
    assert made.shape == inputs["pixel_values"].shape
    scale = float(torch.tensor(config.MODEL.PIXEL_STD).mean())
    assert float((made - inputs["pixel_values"]).abs().max()) * scale < 3  # of 255: rounding
    assert image.seen == pytest.approx(window, abs=1)
    found = original_map(torch.rand(3, 64, 64), image)
    rows, columns = found.sum(1).nonzero()[:, 0], found.sum(0).nonzero()[:, 0]
    top, left, height, width = image.seen
    assert (int(rows.min()), int(rows.max())) == (int(top), int(np.ceil(top + height)) - 1)
    assert (int(columns.min()), int(columns.max())) == (int(left), int(np.ceil(left + width)) - 1)
    torch.testing.assert_close(
        original_map(torch.ones(3, 64, 64), image).sum(), torch.tensor(3.0 * 64 * 64)
    )
    corner = original_box((0.0, 0.0, 64.0, 64.0), image)
    assert corner == pytest.approx((left, top, left + width, top + height))
    assert in_network((left + width / 2, top + height / 4), image) == pytest.approx((32, 16))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("gdino", "", "finds what a text names"),
        ("gdino", "cat. cat.", "each once"),
        ("gdino", "traffic light cat dog " * 8, "is of"),
        ("oneformer", "objects", "expected one of instance, semantic, panoptic"),
        ("segformer", "cat.", "takes images alone"),
    ],
)
def test_a_text_that_a_model_cannot_use(folders: Any, name: str, text: str, words: str) -> None:
    source = ["LRPC.SOURCE", f"transformers:{folders(name)}", "LRPC.TEXT", text]
    with pytest.raises(ConfigError, match=words) as error:
        build_model(read_described(default_config(source)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["rtdetr2", pytest.param("dfine", marks=pytest.mark.slow)])
def test_any_size_where_a_model_keeps_its_anchors(folders: Any, name: str) -> None:
    """What it keeps from one image to the next of the same size is computed in the program."""
    model: nn.Module = build_model(described(folders(name)))[0].double()
    torch.manual_seed(0)
    images = torch.rand(2, 3, 96, 160, dtype=torch.float64) * 255
    program = lrpc.compile(
        model, {"images": images[:1, ..., :128]}, dynamic={"images": {2: "H", 3: "W"}}
    )
    state, outputs = program.forward(images), model(images)
    for key, value in outputs.items():
        torch.testing.assert_close(state.outputs[key], value, rtol=1e-9, atol=1e-9)


def test_one_size_where_a_model_does_not_come_out_alike_at_all(
    folders: Any, tmp_path: Path
) -> None:
    """The pooling of UperNet cuts a level into parts, which are not equal at every size."""
    settings = keys(folders("upernet"), "LRPC.RESIZE", "aspect", "LRPC.COMPOSITE", "attnlrp")
    report = compile_config(default_config(settings), tmp_path / "out", check=False)
    assert any(note.startswith("one size, 64×96") for note in report.notes)
