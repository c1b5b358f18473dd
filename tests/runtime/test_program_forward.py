"""A program's forward pass gives the model's own outputs, for images and batch sizes not traced."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.maskdino_cases import digits_image
from tests.support.programs import DIGITS, FULL, Programs, difference, noise

LIMITS = {"fp32": 1e-5, "fp64": 1e-10}
DTYPES = {"fp32": torch.float32, "fp64": torch.float64}


def check(programs: Programs, config: Path, precision: str, program: object, x: Tensor) -> None:
    images = x.to(DTYPES[precision])
    found = program.forward(images).outputs  # type: ignore[attr-defined]
    with torch.no_grad():
        expected = programs.model(config, DTYPES[precision])(images)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert difference(found[name], value) < LIMITS[precision], (name, len(x))


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_digits(programs: Programs, precision: str) -> None:
    program = programs.digits(PRECISION=precision)
    scenes = torch.cat([digits_image(name) for name in ("03", "10", "13")])
    for images in (scenes, scenes[1:2], noise(2, 160, 160)):
        check(programs, DIGITS, precision, program, images)


def test_a_program_of_any_size_gives_what_that_of_one_size_does(programs: Programs) -> None:
    """To rounding; at every size and in float64: test_any_size_targets.py."""
    one, other = programs.digits(), programs.digits(DYNAMIC="auto")
    images = digits_image("03")
    state, beside = one.forward(images), other.forward(images)
    for name, value in state.outputs.items():
        assert difference(beside.outputs[name], value) < LIMITS["fp32"]
    for target, at in {"class_logit": [(0, 5)], "mask_logit": [(3, 7, 9)]}.items():
        found = [p.relevance(s, target, at=at).input for p, s in ((one, state), (other, beside))]
        assert difference(*found) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_the_released_size(programs: Programs, precision: str) -> None:
    names = ["class_logit", "encoder_feature", "decoder_query"]
    program = programs.full("attnlrp", 0.0, PRECISION=precision, TARGETS=names)
    for images in (noise(1, 128, 160, seed=3), noise(3, 128, 160, seed=4)):
        check(programs, FULL, precision, program, images)


def test_an_image_s_outputs_do_not_depend_on_its_batch(programs: Programs) -> None:
    program = programs.digits(PRECISION="fp64")
    scenes = torch.cat([digits_image(name) for name in ("02", "05", "17")]).double()
    together = program.forward(scenes).outputs
    for i in range(3):
        for name, value in program.forward(scenes[i : i + 1]).outputs.items():
            assert difference(together[name][i : i + 1], value) < 1e-12, name
