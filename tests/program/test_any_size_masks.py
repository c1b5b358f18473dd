"""One program for any size that takes a mask of padded pixels: the model's own outputs, whatever is
padded of each image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lrpc.commands.session.calls import padding_of
from lrpc.compiler import compile_config
from lrpc.config import load_config
from lrpc.program.loading import load_program
from lrpc.program.verify import checks
from tests.support.programs import DIGITS, Programs, difference, noise

#: Height and width of the images, and of what is no padding in each.
CASES = (
    ((96, 160), ((96, 160), (80, 160), (96, 97))),
    ((160, 96), ((160, 50), (131, 96))),
    pytest.param((128, 128), ((64, 64), (128, 128), (65, 127)), marks=pytest.mark.slow),
    pytest.param((224, 288), ((223, 200), (33, 288)), marks=pytest.mark.slow),
)
KEYS = {"PADDING_MASK": True, "PRECISION": "fp64", "TARGETS": "[class_logit]"}


@pytest.fixture(scope="module")
def program(programs: Programs) -> Any:
    return programs.loaded(DIGITS, DYNAMIC=True, **KEYS)


def test_it_is_sound(program: Any) -> None:
    assert list(program.interface.inputs) == ["images", "padding_mask"]
    found = list(checks(Path(program.directory), sizes=[{"H": 64, "W": 96}]))
    assert [c for c in found if not c.passed] == []
    assert "class_logit → input" in [c.what for c in found]


@pytest.mark.parametrize(("size", "kept"), CASES, ids=str)
def test_outputs_are_the_model_s(
    program: Any, programs: Programs, size: tuple[int, int], kept: tuple[tuple[int, int], ...]
) -> None:
    images, masks = noise(len(kept), *size), padding_of(kept, size)
    state = program.forward(images, masks)
    with torch.no_grad():
        wanted = programs.model(DIGITS, torch.float64)(images, masks)
        unmasked = programs.model(DIGITS, torch.float64)(images)
    for name, value in wanted.items():
        assert difference(state.outputs[name], value) < 1e-11
        assert difference(state.outputs[name], unmasked[name]) > 1e-6  # masks matter
    found = program.relevance(state, "class_logit", at=[(0, 5), (3, 1)], ledger=True)
    assert float(found.ledger.closure.max()) < 1e-11
    for b, (height, width) in enumerate(kept):
        assert not found.input[:, b, :, height:].any()
        assert not found.input[:, b, :, :, width:].any()
        assert found.input[:, b].any()
    for b in range(len(kept)):  # each is as it is alone
        alone = program.forward(images[b : b + 1], masks[b : b + 1])
        one = program.relevance(alone, "class_logit", at=[(0, 5), (3, 1)])
        assert difference(one.input[:, 0], found.input[:, b]) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(("size", "kept"), CASES, ids=str)
def test_relevance_is_that_of_the_program_of_that_size(
    program: Any, tmp_path: Path, size: tuple[int, int], kept: tuple[tuple[int, int], ...]
) -> None:
    keys = {**KEYS, "SHAPES": [list(size)], "DYNAMIC": False}
    words = [word for key, value in keys.items() for word in (f"LRPC.{key}", str(value))]
    compile_config(load_config(DIGITS, words), tmp_path / "fixed", check=False)
    fixed: Any = load_program(tmp_path / "fixed", "cpu")
    images, masks = noise(len(kept), *size), padding_of(kept, size)
    state, other = program.forward(images, masks), fixed.forward(images, masks)
    at = [(0, 5), (3, 1)]
    got, wanted = (
        p.relevance(s, "class_logit", at=at) for p, s in ((program, state), (fixed, other))
    )
    assert difference(got.input, wanted.input) < 1e-11
