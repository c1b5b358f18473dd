"""The ViT study, on a tiny vision transformer: files, record, choice of samples, exact numbers."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

import lrpc
from lrpc.errors import LrpcError
from tests.support.programs import EXAMPLES
from tests.support.torchvision_shim import torchvision_models

study: Any = pytest.importorskip("examples.vit_study")
SCENES = EXAMPLES / "digits" / "scenes"
FIRST = "conv1_linear0.5"


def tiny_vit() -> nn.Module:
    torchvision_models()
    made = importlib.import_module("torchvision.models.vision_transformer").VisionTransformer
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = made(32, 16, 1, 2, 8, 16, num_classes=5)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images in folders, one for each class."""
    for name in ("02", "05", "13"):
        target = tmp_path / "images" / f"class_{int(name) % 2}" / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(SCENES / f"{name}.png") as image:
            image.convert("RGB").save(target)
    return tmp_path / "images"


def test_all_files_and_numbers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = tiny_vit(), tmp_path / "out"
    asked = study.Study(folder, out, size=32, samples=2, seed=3)
    assert study.run(model, asked, study.load(model, None)) == 0
    assert "RANDOM WEIGHTS" in capsys.readouterr().err
    told = json.loads((out / "study.json").read_text())
    assert list(told["settings"]) == [
        FIRST, "conv0.25_linear0.05", "conv0.1_linear0", "conv100_linear1",
    ]  # fmt: skip
    assert told["weights"]["random"] is True
    assert len(told["images"]) == 2
    for record in told["images"]:
        stem = Path(record["file"]).stem
        assert record["folder"] == Path(record["file"]).parts[0]
        pictures = [f"{s}.{kind}" for s in told["settings"] for kind in ("heatmap", "overlay")]
        names = {f"{stem}.{name}.png" for name in [*pictures, "comparison"]}
        assert record["files"].keys() == names | {f"{stem}.relevance.safetensors"}
        for name, sha256 in record["files"].items():
            assert study.digest(out / name) == sha256
        check_numbers(model, folder / record["file"], out / f"{stem}.relevance.safetensors", record)


def check_numbers(model: nn.Module, image: Path, tensors: Path, record: dict[str, Any]) -> None:
    """Against a program of one setting."""
    x = study.normalised(study.cropped(study.read_rgb(image), 32))
    label = int(model(x)[0].argmax())
    assert record["predicted"] == label
    assert record["top5"][0] == [label, pytest.approx(float(model(x)[0].max().detach()))]
    saved = load_file(tensors)
    for name, (conv, linear) in zip(saved_order(record), study.GAMMAS, strict=True):
        one: Any = lrpc.compile(
            model, (x,), composite=lrpc.composite("gamma", conv_gamma=conv, linear_gamma=linear)
        )
        expected = one(x, "output", at=[(label,)]).input[0, 0]
        assert bool(expected.any())
        torch.testing.assert_close(saved[name], expected, rtol=1e-4, atol=1e-8)
        part = record["settings"][name]
        assert part["sum"] == pytest.approx(float(expected.sum()), rel=1e-3, abs=1e-6)
        assert part["ledger_closure"] < 1e-4
    assert record["settings"][FIRST]["cosine_with_first"] == pytest.approx(1)


def saved_order(record: dict[str, Any]) -> list[str]:
    return list(record["settings"])


def test_the_choice_of_samples_is_seeded(folder: Path, tmp_path: Path) -> None:
    def chosen(seed: int, samples: int) -> list[str]:
        asked = study.Study(folder, tmp_path, samples=samples, seed=seed)
        return [p.name for p in asked.paths()]

    assert chosen(0, 0) == ["02.png", "05.png", "13.png"]  # by class, then by name
    assert chosen(4, 2) == chosen(4, 2)
    assert len({tuple(chosen(seed, 2)) for seed in range(20)}) == 3
    assert chosen(0, 99) == chosen(0, 0)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    source, path = tiny_vit(), tmp_path / f"weights.{suffix}"
    for parameter in source.parameters():
        parameter.data += 1
    if suffix == "pth":
        torch.save(source.state_dict(), path)
    else:
        save_file(source.state_dict(), path)
    model = tiny_vit()
    assert study.load(model, path)["random"] is False
    for mine, theirs in zip(model.parameters(), source.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_bad_image_is_recorded_and_the_rest_go_on(folder: Path, tmp_path: Path) -> None:
    (folder / "a.png").write_text("no image")
    model = tiny_vit()
    asked = study.Study(folder, tmp_path / "out", ((1.0, 0.5),), size=32)
    assert study.run(model, asked, study.load(model, None)) == 1
    images = json.loads((tmp_path / "out" / "study.json").read_text())["images"]
    assert "not an image that Pillow can read" in images[0]["error"]
    assert [one.get("predicted") is not None for one in images] == [False, True, True, True]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torchvision_models()
    (tmp_path / "empty").mkdir()
    assert study.main(["--images", str(tmp_path / "empty"), "-o", str(tmp_path / "out")]) == 2
    assert "no image in this folder" in capsys.readouterr().err
    assert study.pair("0.1,0") == (0.1, 0.0)
    with pytest.raises(SystemExit):
        study.main(["--images", "x", "-o", "y", "--gammas", "1,-1"])
    assert "'1,-1' is not CONV,LINEAR, two numbers from 0 up" in capsys.readouterr().err
    with pytest.raises(LrpcError):
        study.Study(tmp_path / "empty", tmp_path).paths()
