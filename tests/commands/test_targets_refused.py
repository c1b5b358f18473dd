"""Targets that a model or a program does not have: each message leads to one that it has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import lrpc
from lrpc.cli import main
from lrpc.compiler import compile_config
from lrpc.config import default_config, load_config
from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import DIGITS
from tests.support.saved_models import save


class Pixels(nn.Module):
    """Classes of pixels, under a name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.map = name, nn.Conv2d(3, 4, 5, 2, 2)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {self.name: self.map(images / 255).relu()}


def unnamed(config: Any) -> nn.Module:
    return Pixels("logits").eval()


def named(config: Any) -> nn.Module:
    return Pixels("pixel_logits").eval()


def compiled(function: str, folder: Path) -> Path:
    source = f"tests.commands.test_targets_refused:{function}"
    settings = ["LRPC.SOURCE", source, "LRPC.SHAPES", "[[32, 64]]", "LRPC.COMPOSITE", "epsilon"]
    compile_config(default_config(settings), folder / function, check=False)
    return folder / function


def run(program: Path, folder: Path, *words: str) -> list[str]:
    Image.effect_noise((64, 32), 60).convert("RGB").save(folder / "a.png")
    output = ["-o", str(folder / "out")]
    return ["run", str(program), "--images", str(folder / "a.png"), *output, *words]


def test_logits_of_pixels_are_explained_under_the_name_that_the_message_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = compiled("unnamed", tmp_path)
    assert main(run(program, tmp_path)) == 2
    assert " ".join(capsys.readouterr().err.split()) == (
        "error: target 'class_logit': commands do not know this program's own (logits); explain"
        " them from Python, as lrpc.load(DIR).relevance(state, 'logits', …), or compile a folder of"
        " transformers (LRPC.SOURCE transformers:PATH), or a model with outputs as docs/models.md"
        " names them, such as pixel_logits for logits [B, C, h, w]"
    )
    loaded: Any = lrpc.load(program)
    found = loaded.relevance(loaded.forward(torch.rand(1, 3, 32, 64)), "logits", at=[(1, 2, 3)])
    assert found.input.abs().sum() > 0
    assert main(run(compiled("named", tmp_path), tmp_path)) == 0
    (target,) = json.loads((tmp_path / "out" / "a.json").read_text())["targets"]
    assert target["target"] == "class_pixel"


def test_a_target_that_the_model_lacks_names_those_that_it_has(tmp_path: Path) -> None:
    source = f"transformers:{save('vit', tmp_path)}"
    for target, wants in (("class_logit", "pred_logits"), ("class_region", "region_logits")):
        settings = ["LRPC.SOURCE", source, "LRPC.TARGETS", f"[{target}]"]
        said = f"{target} starts from {wants}, which is none of the outputs; this model has: class"
        with pytest.raises(lrpc.ConfigError, match=said):
            compile_config(default_config(settings), tmp_path / "out", check=False)


@pytest.mark.parametrize("kind", ["panoptic", "semantic"])
def test_segments_that_the_model_does_not_make(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    key = f"MODEL.MaskDINO.TEST.{kind.upper()}_ON"
    words = ["compile", "--config", str(DIGITS), "-o", str(tmp_path / "out"), "--no-check"]
    words += ["LRPC.TARGETS", f"[mask_logit, {kind}_segment]", "LRPC.COMPOSITE", "epsilon"]
    assert main(words) == 2
    assert " ".join(capsys.readouterr().err.split()) == (
        f"error: command line: LRPC.TARGETS: {kind}_segment: this model makes no {kind} results;"
        f" that wants {key} true"
    )
    assert not (tmp_path / "out").exists()
    assert main([*words, "LRPC.DYNAMIC", "false", key, "true"]) == 0
    scene = str(EXAMPLE / "scenes" / "02.png")
    run = ["run", str(tmp_path / "out"), "--images", scene, "-o", str(tmp_path / "run")]
    assert main([*run, "--target", f"{kind}_segment", "--no-ledger"]) == 0
    before = ["LRPC.TARGETS", "[mask_logit]", "LRPC.COMPOSITE", "epsilon", "LRPC.DYNAMIC", "false"]
    compile_config(load_config(DIGITS, before), tmp_path / "without", check=False)
    capsys.readouterr()
    job = ["run", str(tmp_path / "without"), "--data", str(EXAMPLE / "scenes"), "--target"]
    assert main([*job, f"{kind}_segment", "-o", str(tmp_path / "job")]) == 2
    assert " ".join(capsys.readouterr().err.split()) == (
        f"error: target '{kind}_segment': this program makes no {kind} results; that wants {key}"
        " true"
    )
    assert not (tmp_path / "job").exists()  # an earlier job there stays the newest
    source = ["LRPC.SOURCE", "tests.commands.test_targets_refused:named", "LRPC.TARGETS"]
    with pytest.raises(lrpc.ConfigError, match=f"{kind}_segment: this model makes no {kind} res"):
        compile_config(default_config([*source, f"[{kind}_segment]"]), tmp_path / "no")
