"""`LRPC.SOURCE transformers:FOLDER`: what is explained is what transformers predicts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import lrpc
from lrpc.cli import main
from lrpc.commands.session.facts import read_facts
from lrpc.commands.session.images import load_image
from lrpc.commands.session.sizing import Sizing, aspect, fit
from lrpc.compiler import compile_config
from lrpc.config import default_config
from lrpc.errors import ConfigError, LrpcError, WeightsError
from lrpc.models.pretrained import read_described
from lrpc.models.sources import build_model
from lrpc.program.loading import load_program
from tests.support.saved_models import MODELS, expected, get_size_with_aspect_ratio, save

NAMES = ("cat", "dog", "bird")
PHOTO = Path(__file__).parents[2] / "examples" / "photo.jpg"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of each model, made when it is asked for."""
    root = tmp_path_factory.mktemp("models")
    return lambda name: root / name if (root / name).is_dir() else save(name, root)


def compiled(folder: Path, *keys: str) -> Path:
    source = ("LRPC.SOURCE", f"transformers:{folder}", "LRPC.COMPOSITE", "attnlrp")
    output = folder.parent / f"{folder.name}.program"
    if not output.is_dir():
        compile_config(default_config([*source, *keys]), output)
    return output


@pytest.mark.parametrize(
    "name", ["rtdetr", *(pytest.param(n, marks=pytest.mark.slow) for n in ("detr", "deformable"))]
)
def test_a_detector_finds_what_transformers_finds(folders: Any, tmp_path: Path, name: str) -> None:
    """Probabilities by softmax with no object, or by sigmoid; 96×128 is what all their processors
    make of 480×640."""
    folder = folders(name)
    keys = ("LRPC.DYNAMIC", "false", "LRPC.SHAPES", "[[96, 128]]", "LRPC.TARGETS", "[class_logit]")
    program = compiled(folder, *keys)
    out = tmp_path / "out"
    run = ["run", str(program), "--images", str(PHOTO), "-o", str(out), "--score", "0.2"]
    top = "7" if name == "rtdetr" else "30"  # it takes as many pairs as it has queries
    assert main([*run, "--top", top, "--target", "class_logit"]) == 0
    record = json.loads((out / "photo.json").read_text())
    assert not record["image"]["padded"]
    _, processor, _, outputs = expected(folder, PHOTO)
    (wanted,) = processor.post_process_object_detection(outputs, 0.2, [(480, 640)])
    mine = [target["detection"] for target in record["targets"]]
    order = wanted["scores"].argsort(descending=True)
    assert [one["class_name"] for one in mine] == [NAMES[i] for i in wanted["labels"][order]]
    np.testing.assert_allclose([o["score"] for o in mine], wanted["scores"][order], atol=2e-3)
    boxes = wanted["boxes"][order].clamp(torch.zeros(4), torch.tensor([640.0, 480, 640, 480]))
    found = sorted(one["box_image"] for one in mine)  # near-ties stand in any order
    np.testing.assert_allclose(found, sorted(boxes.tolist()), atol=2)
    assert all(one["mask_pixels_network"] is None for one in mine)
    assert all(t["ledger"]["closure"] < 1e-4 for t in record["targets"])
    assert "positive_share_in_box" in record["targets"][0]["relevance"]


def test_relevance_is_that_of_the_model(folders: Any) -> None:
    """Input × gradient of a class logit of the model itself, in float64."""
    folder = folders("detr")
    config = default_config(["LRPC.SOURCE", f"transformers:{folder}"])
    model = build_model(read_described(config))[0].double()
    images = torch.rand(2, 3, 64, 96, dtype=torch.float64) * 255
    program = lrpc.compile(model, {"images": images}, composite="gradient_input")
    found = program(images, "pred_logits", at=[(3, 1)]).input
    images.requires_grad_(True)
    (slope,) = torch.autograd.grad(model(images)["pred_logits"][:, 3, 1].sum(), images)
    torch.testing.assert_close(found[0], images * slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["detr", "vit"])
def test_pixels_are_those_of_the_processor(folders: Any, name: str) -> None:
    folder = folders(name)
    config = read_described(default_config(["LRPC.SOURCE", f"transformers:{folder}"]))
    facts = read_facts(
        {"inputs": {"images": "f32[B,3,96,128]"}, "config": config.to_dict(portable=True)}
    )
    sizing = replace(facts.sizing, shapes=((96, 128),) if name == "detr" else ((64, 64),))
    image = load_image(PHOTO, sizing)
    _, _, inputs, _ = expected(folder, PHOTO)
    model = build_model(config)[0]
    made = model.normalize(image.pixels[None])  # type: ignore[operator]
    assert made.shape == inputs["pixel_values"].shape
    scale = 255 * torch.tensor(config.MODEL.PIXEL_STD).mean() / 255
    assert float((made - inputs["pixel_values"]).abs().max() * scale) < 2  # of 255: rounding


@pytest.mark.parametrize("longest", [1333, 1000])
def test_sizes_are_those_of_transformers(longest: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for height, width in torch.randint(30, 3000, (3000, 2), generator=generator).tolist():
        wanted = get_size_with_aspect_ratio((height, width), 800, longest)
        assert aspect((height, width), 800, longest) == tuple(wanted)
    assert aspect((800, 1200), 800, longest) == get_size_with_aspect_ratio(
        (800, 1200), 800, longest
    )


def test_images_are_padded_only_where_padding_is_masked() -> None:
    rule = Sizing((), 96, 160, (0.0, 0.0, 0.0), rule="aspect", steps=(32, 32))
    assert rule.own((480, 600)) == ((96, 120), (96, 120))
    assert "--pad" in rule.refusal((96, 128), (96, 120), (480, 600))
    assert not replace(rule, masked=True).refusal((96, 128), (96, 120), (480, 600))
    assert not rule.refusal((96, 128), (96, 128), (480, 640))
    assert replace(rule, divisor=32).own((480, 600)) == ((96, 128), (96, 128))
    exact = replace(rule, rule="exact", exact=(64, 80), steps=None, shapes=((64, 80),))
    assert fit((480, 600), exact) == ((64, 80), (64, 80))


def test_classes_of_an_image(folders: Any, tmp_path: Path) -> None:
    folder, out = folders("vit"), tmp_path / "out"
    program = compiled(folder)
    run = ["run", str(program), "--images", str(PHOTO), "-o", str(out), "--score", "0.01"]
    assert main(run) == 0
    record = json.loads((out / "photo.json").read_text())
    _, _, _, outputs = expected(folder, PHOTO)
    shares, labels = outputs.logits[0].softmax(-1).sort(descending=True)
    mine = [target["detection"] for target in record["targets"]]
    assert [one["class_name"] for one in mine] == [NAMES[i] for i in labels]
    np.testing.assert_allclose([one["score"] for one in mine], shares, atol=2e-3)
    assert [target["index"] for target in record["targets"]] == [[int(i)] for i in labels]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "preprocessor_config.json"),
        (lambda folder: (folder / "config.json").unlink(), "save_pretrained"),
        (lambda folder: (folder / "preprocessor_config.json").write_text("[1]"), "image processor"),
        (lambda folder: _edit(folder / "config.json", architectures=["Nothing"]), "architecture"),
        (lambda folder: _edit(folder / "config.json", architectures=[]), "architecture"),
        (
            lambda folder: _edit(folder / "config.json", architectures=["AutoConfig"]),
            "architecture",
        ),
        (lambda folder: (folder / "config.json").write_text("3"), "save_pretrained"),
        (lambda folder: _edit(folder / "config.json", id2label=["cat", "dog"]), "save_pretrained"),
        (lambda folder: _edit(folder / "config.json", hidden_size="32"), "expected int, got str"),
        (lambda folder: _edit(folder / "config.json", num_attention_heads=0), "ZeroDivisionError"),
        (lambda folder: _edit(folder / "config.json", hidden_act="no"), "KeyError: 'no'"),
        (lambda folder: _edit(folder / "config.json", id2label={"0": "cat"}), "shapes of its"),
        (lambda folder: _edit(folder / "config.json", id2label={"0": "cat", "2": "a"}), "id2label"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "save_pretrained"),
        (
            lambda folder: _edit(folder / "preprocessor_config.json", image_mean=["a", 1, 2]),
            "image_mean",
        ),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(
    folders: Any, tmp_path: Path, change: Any, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(folders("vit"), tmp_path / "vit"))
    change(folder)
    with pytest.raises(LrpcError) as error:
        compile_config(default_config(["LRPC.SOURCE", f"transformers:{folder}"]), tmp_path / "out")
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""
    assert not (tmp_path / "out").exists()


def test_a_target_that_the_model_does_not_have(folders: Any, tmp_path: Path) -> None:
    keys = ["LRPC.SOURCE", f"transformers:{folders('vit')}", "LRPC.TARGETS", "[class_logit]"]
    with pytest.raises(ConfigError, match="class_logit starts from pred_logits, which is none"):
        compile_config(default_config(keys), tmp_path / "out", check=False)


def test_weights_that_are_missing_are_no_model(folders: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders("vit"), tmp_path / "vit"))
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in tensors.items() if "classifier" not in k}, folder / "model.safetensors"
    )
    with pytest.raises(WeightsError, match="classifier"):
        build_model(read_described(default_config(["LRPC.SOURCE", f"transformers:{folder}"])))


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_a_config_sets_stays(folders: Any) -> None:
    keys = ["LRPC.CLASS_NAMES", "['a','b','c']", "INPUT.MIN_SIZE_TEST", "64"]
    own = default_config(["LRPC.SOURCE", f"transformers:{folders('detr')}", *keys])
    made = read_described(own)
    assert made.LRPC.CLASS_NAMES == ("a", "b", "c")
    assert (made.INPUT.MIN_SIZE_TEST, made.INPUT.MAX_SIZE_TEST) == (64, 160)
    assert str(folders("detr").parent) not in json.dumps(made.to_dict(portable=True))


def test_a_model_of_one_size_is_said_so(folders: Any, tmp_path: Path) -> None:
    """Windows of a Swin are not the same computation at all sizes."""
    source = ["LRPC.SOURCE", f"transformers:{folders('mask2former')}"]
    report = compile_config(default_config(source), tmp_path / "out", check=False)
    assert any(note.startswith("one size, 96×128") for note in report.notes)
    names = [t["name"] for t in load_program(tmp_path / "out", "cpu").manifest["targets"]]
    assert names == ["class_logit", "mask_logit", "encoder_feature:1", "decoder_query:1"]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_any_size_as_configured(folders: Any, name: str, tmp_path: Path) -> None:
    """Compiled and run with nothing but the folder's name."""
    folder = folders(name)
    output = tmp_path / "program"
    compile_config(default_config(["LRPC.SOURCE", f"transformers:{folder}"]), output)
    run = [
        "run",
        str(output),
        "--images",
        str(PHOTO),
        "-o",
        str(tmp_path / "out"),
        "--score",
        "0.1",
    ]
    assert main(run) == 0
