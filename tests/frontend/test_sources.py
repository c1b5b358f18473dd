"""Model sources: what is built, what is said about its weights, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from lrpc.config import Config, load_config
from lrpc.errors import ConfigError, LrpcError, WeightsError
from lrpc.models.fitting import fill
from lrpc.models.maskdino import MaskDINO
from lrpc.models.sources import build_model
from lrpc.models.weights import file_sha256, load_weights, save_weights

EXAMPLE = Path(__file__).parents[2] / "examples" / "maskdino.yaml"
WEIGHTS = EXAMPLE.parent / "digits" / "maskdino_digits.safetensors"


def example(*overrides: str) -> Config:
    return load_config(EXAMPLE, overrides)


def error_of(*overrides: str) -> str:
    with pytest.raises(LrpcError) as caught:
        build_model(example(*overrides))
    return str(caught.value)


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An importable module of the user's, `user_models`."""
    module = ModuleType("user_models")
    monkeypatch.setitem(sys.modules, "user_models", module)
    return module


def test_embedded_with_trained_weights() -> None:
    model, info = build_model(example())
    assert isinstance(model, MaskDINO)
    assert not model.training
    assert (info.path, info.sha256, info.seeded) == (str(WEIGHTS), file_sha256(WEIGHTS), False)
    assert info.note == "weights from maskdino_digits.safetensors"


def test_no_weights_are_seeded_and_said_loudly() -> None:
    empty = ("MODEL.WEIGHTS", "")
    model, info = build_model(example(*empty))
    assert (info.path, info.sha256, info.seeded) == (None, None, True)
    assert info.note == (
        "MODEL.WEIGHTS is empty: the weights are RANDOM (seed 0), "
        "outputs and relevance mean nothing; set it to a trained checkpoint"
    )
    key = "sem_seg_head.predictor.class_embed.weight"
    again, _ = build_model(example(*empty))
    other, _ = build_model(example(*empty, "LRPC.INIT_SEED", "1"))
    assert torch.equal(model.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(model.state_dict()[key], other.state_dict()[key])


def test_weights_errors_name_where_the_path_was_set(tmp_path: Path) -> None:
    assert error_of("MODEL.WEIGHTS", "detectron2://a/R-50.pkl") == (
        "command line: MODEL.WEIGHTS: detectron2://a/R-50.pkl: is not a file; "
        "download it and set MODEL.WEIGHTS to its path"
    )
    gone = str(tmp_path / "gone.pth")
    assert error_of("MODEL.WEIGHTS", gone) == (
        f"command line: MODEL.WEIGHTS: {gone}: no such file or directory; check the path"
    )


def test_weights_of_another_model(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_weights(path, {"stem.conv1.weight": torch.ones(1)})
    assert error_of("MODEL.WEIGHTS", str(path)).startswith("weights do not fit this MaskDINO")


def test_other_architecture() -> None:
    assert error_of("MODEL.META_ARCHITECTURE", "GeneralizedRCNN") == (
        "command line: MODEL.META_ARCHITECTURE: expected MaskDINO, got GeneralizedRCNN; "
        "correct it, or name your own model in LRPC.SOURCE"
    )


def test_detectron2_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "detectron2.config", None)
    monkeypatch.setitem(sys.modules, "detectron2", ModuleType("detectron2"))
    assert error_of("LRPC.SOURCE", "detectron2") == (
        "command line: LRPC.SOURCE: detectron2.config cannot be imported "
        "(import of detectron2.config halted; None in sys.modules); "
        "install detectron2 and MaskDINO from their sources, or use embedded"
    )


def test_function_of_the_user(user: Any) -> None:
    user.build = lambda config: nn.Sequential(nn.Linear(config.LRPC.SEEDS, 2), nn.Dropout())
    before = torch.random.get_rng_state()
    model, info = build_model(example("LRPC.SOURCE", "user_models:build", "LRPC.SEEDS", "3"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert info.note == "user_models:build takes care of its own weights"
    assert info.sha256 == file_sha256(WEIGHTS)


def test_function_errors(user: Any) -> None:
    def broken(config: Config) -> nn.Module:
        raise ValueError("no such layer")

    user.broken, user.number, user.text = broken, 3, lambda config: "model"
    expected = {
        "no_such_module:build": "cannot be imported (No module named 'no_such_module'); "
        "install it or add its folder to PYTHONPATH",
        "user_models:gone": "user_models has no gone; name a function in it",
        "user_models:number": "is not callable; name a function of the configuration",
        "user_models:broken": "raised ValueError: no such layer; correct it",
        "user_models:text": "returned str; return a torch.nn.Module from it",
    }
    for source, message in expected.items():
        assert error_of("LRPC.SOURCE", source) == (
            f"command line: LRPC.SOURCE: {source}: {message}"
        )
    gone = ("MODEL.WEIGHTS", "/gone.pth")
    user.build = lambda config: nn.Identity()
    assert error_of("LRPC.SOURCE", "user_models:build", *gone) == (
        "command line: MODEL.WEIGHTS: /gone.pth: no such file or directory; check the path"
    )


def test_fill_says_what_does_not_fit() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    weights = {name: value + 1 for name, value in model.state_dict().items()}
    del weights["1.num_batches_tracked"]
    weights["criterion.empty_weight"] = torch.ones(1)
    fill(model, weights)
    assert torch.equal(model[0].weight, weights["0.weight"])
    wrong = {"0.weight": torch.ones(3), "x": torch.ones(1), "0.bias": torch.ones(2)}
    with pytest.raises(WeightsError) as caught:
        fill(model, wrong)
    assert str(caught.value) == (
        "weights do not fit this model: 4 missing (4 in 1); 1 unexpected (x); "
        "1 of another shape (0.weight), [3] in the file, [2, 2] in the model\n"
        "  missing: 1.weight\n  missing: 1.bias\n  missing: 1.running_mean\n"
        "  missing: 1.running_var\n  unexpected: x\n"
        "  of another shape: 0.weight: [3] in the file, [2, 2] in the model"
    )
    with pytest.raises(WeightsError) as caught:
        fill(model, {"stem.weight": torch.ones(1)})
    assert "; the file holds another model's weights: name this model's in MODEL.WEIGHTS\n" in str(
        caught.value
    )


def test_another_number_of_classes_names_the_key(tmp_path: Path) -> None:
    weights = load_weights(WEIGHTS)
    few = {n: t[:1] if "class_embed" in n or "label_enc" in n else t for n, t in weights.items()}
    torch.save({"state_dict": {f"model.{name}": t for name, t in few.items()}}, tmp_path / "m.ckpt")
    line = error_of("MODEL.WEIGHTS", str(tmp_path / "m.ckpt")).partition("\n")[0]
    assert line == (
        "weights do not fit this MaskDINO configuration: 3 of another shape (3 in "
        "sem_seg_head.predictor), first sem_seg_head.predictor.class_embed.weight: [1, 256] in "
        "the file, [10, 256] in the model; set MODEL.SEM_SEG_HEAD.NUM_CLASSES to 1 (now 10)"
    )


def test_which_weights_were_taken_is_noted(tmp_path: Path) -> None:
    own = load_weights(WEIGHTS)
    average = {f"module.{name}": tensor * 0.5 for name, tensor in own.items()}
    path = tmp_path / "m.pth"
    torch.save({"model": own, "ema_state": average}, path)
    key = "backbone.stem.conv1.weight"
    model, info = build_model(example("MODEL.WEIGHTS", str(path)))
    assert torch.equal(model.state_dict()[key], own[key])
    assert info.note == (
        "weights from m.pth: entry model; averaged weights (EMA) lie beside it: "
        "LRPC.WEIGHTS_ENTRY ema_state takes them"
    )
    entry = ("LRPC.WEIGHTS_ENTRY", "ema_state")
    model, info = build_model(example("MODEL.WEIGHTS", str(path), *entry))
    assert torch.equal(model.state_dict()[key], own[key] * 0.5)
    assert info.note == (
        "weights from m.pth: entry ema_state; the prefix 'module.' of names is left out"
    )


def test_configuration_error_of_the_source_stays_itself(user: Any) -> None:
    def refuse(config: Config) -> nn.Module:
        raise ConfigError("mine.yaml:1: mine")

    user.refuse = refuse
    assert error_of("LRPC.SOURCE", "user_models:refuse") == "mine.yaml:1: mine"
