"""The digits program for any size at twelve sizes: every target as of the program of that size, the
model's own detections, memory as predicted."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lrpc.commands.session.detect import find_detections
from lrpc.compiler import compile_config
from lrpc.config import load_config
from lrpc.program.loading import load_program
from lrpc.program.memory_of import open_model
from tests.support.maskdino_cases import ALL_SCENES, needs_all_scenes
from tests.support.programs import DIGITS, Programs, difference
from tests.support.storage import Tracker

SIZES = (
    *((96, 96), (96, 160), (160, 96), (128, 224), (224, 128), (160, 160), (192, 288), (288, 192)),
    *((224, 352), (352, 224), (320, 416), (416, 320)),
)
AT: dict[str, list[tuple[int, ...]]] = {
    "class_logit": [(0, 5), (3, 1)],
    "mask_logit": [(0, 7, 9), (2, 20, 3)],
    "box": [(0, 1), (4, 3)],
    "encoder_feature:2": [(17,)],
    "decoder_query:2": [(0,)],
}
PRECISIONS = {
    "fp64": (torch.float64, 1e-12, 1e-12),
    "fp32": (torch.float32, 1e-5, 1e-5),
}


@cache
def scene(number: int) -> Tensor:
    with Image.open(ALL_SCENES / f"{number:02}.png") as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).double()


def picture(height: int, width: int) -> Tensor:
    """Scenes side by side and below each other, cut to a size: [1, 3, H, W]."""
    rows = [torch.cat([scene(3 * row + n) for n in range(3)], 2) for row in range(3)]
    return torch.cat(rows, 1)[None, :, :height, :width]


def found(outputs: Any, size: tuple[int, int]) -> list[tuple[int, int, float, tuple[float, ...]]]:
    one = {name: value[0] for name, value in outputs.items()}
    some = find_detections(one, size, size, 0.3, 10)
    return [(d.query, d.label, d.score, d.box) for d in some]


@pytest.mark.slow
@needs_all_scenes
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_it_is_the_program_of_that_size(
    programs: Programs, tmp_path: Path, size: tuple[int, int], precision: str
) -> None:
    dtype, of_outputs, of_relevance = PRECISIONS[precision]
    any_size = programs.digits("maskdino", PRECISION=precision, DYNAMIC=True)
    keys = ["LRPC.PRECISION", precision, "LRPC.SHAPES", f"[{list(size)}]", "LRPC.DYNAMIC", "false"]
    compile_config(load_config(DIGITS, keys), tmp_path / "fixed", check=False)
    fixed: Any = load_program(tmp_path / "fixed", "cpu")
    x = picture(*size).to(dtype)
    state, other = any_size.forward(x), fixed.forward(x)
    with torch.no_grad():
        wanted = programs.model(DIGITS, dtype)(x)
    for name, value in other.outputs.items():
        assert difference(state.outputs[name], value) < of_outputs
    own = found(wanted, size)
    assert own
    for one, expected in zip(found(state.outputs, size), own, strict=True):
        assert one[:2] == expected[:2]
        assert one[2] == pytest.approx(expected[2], rel=1e-4)
        assert one[3] == pytest.approx(expected[3], rel=1e-4, abs=1e-3)
    exact = programs.digits("maskdino", PRECISION="fp64", DYNAMIC=True)
    before = exact.forward(x.double())
    for target, at in AT.items():
        got, ledger = relevance(any_size, state, target, at)
        there, _ = relevance(fixed, other, target, at)
        assert float(ledger.closure.max()) < (1e-12 if precision == "fp64" else 1e-4)
        if apart(got, there) < of_relevance:
            continue
        # At equal edges the program of that size merges a constant: it rounds otherwise, no better.
        assert precision == "fp32"
        true, _ = relevance(exact, before, target, at)
        assert apart(got, true) < 1.5 * apart(there, true)


def relevance(
    program: Any, state: Any, target: str, at: list[tuple[int, ...]]
) -> tuple[dict[str, Tensor], Any]:
    """Relevance of a target at the image and at all places, and its ledger."""
    name, _, layer = target.partition(":")
    options = {"layer": int(layer)} if layer else {}
    result = program.relevance(state, name, at=at, ledger=True, **options)
    return {"input": result.input, **result.layers}, result.ledger


def apart(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """The largest difference at any place, over the largest entry there."""
    return max(difference(got[place].double(), value.double()) for place, value in wanted.items())


@pytest.mark.slow
@needs_all_scenes
@pytest.mark.parametrize("ledger", [False, True])
def test_peaks_are_as_predicted(programs: Programs, ledger: bool) -> None:
    options: dict[str, object] = {"DYNAMIC": True, "PRECISION": "fp32"}
    same: dict[str, object] = {"COMPOSITE": "maskdino", "EPSILON": 1e-6}
    program = programs.loaded(DIGITS, **same, **options)
    model = open_model(programs.directory(DIGITS, **same, **options))
    names = [code.name for code in model.codes]
    for size in SIZES:
        model.sizes = dict(zip("HW", size, strict=True))
        x, at = picture(*size).float(), AT["class_logit"]
        timeline = model.timeline(names.index("class_logit"), len(at), model.forward(1), ledger)
        with Tracker() as tracker:
            state = program.forward(x)
        assert tracker.peak == pytest.approx(timeline.forward_peak, rel=0.03)
        with Tracker() as tracker:
            program.relevance(state, "class_logit", at=at, ledger=ledger)
        assert tracker.peak == pytest.approx(timeline.relevance_peak, rel=0.03)
