"""`lrpc run --attention`: pictures and tensors of what queries look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import lrpc
from lrpc.cli import main
from lrpc.commands.run.runner import Runner
from lrpc.commands.session.options import Options
from lrpc.commands.session.targets import parse_targets
from lrpc.errors import ProgramError
from lrpc.program.attention import check_queries
from tests.support.maskdino_cases import EXAMPLE, digits_image
from tests.support.programs import DIGITS, Programs

SCENE = EXAMPLE / "scenes" / "05.png"
MODULES = "*decoder.layers.1.*"


def test_pictures_and_tensors_of_each_query(programs: Programs, tmp_path: Path) -> None:
    directory = programs.directory(DIGITS, COMPOSITE="attnlrp", EPSILON=1e-6, DYNAMIC=False)
    words = ["run", str(directory), "--images", str(SCENE), "-o", str(tmp_path)]
    words += ["--attention", MODULES, "--target", "class_logit:3,3", "--target", "box:3,0"]
    assert main([*words, "--no-ledger"]) == 0
    told: Any = json.loads((tmp_path / "05.json").read_text())
    assert told["run"]["attention"] == MODULES
    (one,) = told["attention"]["queries"]  # both targets are of one query
    assert one == {"query": 3, "file": "05.q3.attention.png"}
    with Image.open(tmp_path / one["file"]) as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels.shape[1] > 2 * 320  # two tiles
    assert np.ptp(pixels, axis=2).max() > 80  # points in colour
    program = programs.digits()
    found = lrpc.attention(program, program.forward(digits_image("05")), MODULES)
    tensors = load_file(tmp_path / told["attention"]["tensors"])
    cross, own = (f"sem_seg_head.predictor.decoder.layers.1.{n}_attn" for n in ("cross", "self"))
    assert torch.equal(tensors[f"q3/{cross}/weights"], found[cross].weights[0, 3])
    points = found[cross].points
    assert points is not None
    assert torch.equal(tensors[f"q3/{cross}/points"], points[0, 3])
    assert torch.equal(tensors[f"q3/{own}/weights"], found[own].weights[0, :, 3])
    assert len(tensors) == 3


def test_a_module_that_is_not_there_is_refused_at_once(programs: Programs, tmp_path: Path) -> None:
    options = Options(tmp_path, targets=parse_targets([]), attention="*cross_atn")
    program = programs.digits()
    with pytest.raises(ProgramError, match=r"no attention .* matches '\*cross_atn'; there are"):
        Runner(program, tmp_path, options)


def test_attention_of_tokens_is_refused_at_once(programs: Programs, tmp_path: Path) -> None:
    options = Options(tmp_path, targets=parse_targets([]), attention="*encoder.layers.0.*")
    with pytest.raises(ProgramError, match="are of tokens; name attention of the 50 queries"):
        Runner(programs.digits(), tmp_path, options)


class Attending(nn.Module):
    """A classifier whose image is a row of tokens that attend to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.attend, self.head = nn.MultiheadAttention(3, 1, batch_first=True), nn.Linear(3, 4)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = images.mean(3).transpose(1, 2)
        return {"logits": self.head(self.attend(x, x, x)[0].mean(1))}


def test_a_model_without_queries_looks_at_nothing() -> None:
    program = lrpc.compile(Attending().eval(), (torch.rand(1, 3, 8, 8),))
    with pytest.raises(ProgramError, match="what queries look at, and this model has none"):
        check_queries(program, "*")
