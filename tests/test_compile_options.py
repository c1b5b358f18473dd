"""Programs of parts of a model, with padding masks, and of every composite, held against the
interpreter."""

from __future__ import annotations

import pytest

from lrpc.rules.composite import COMPOSITES
from lrpc.verify import checks
from tests.support.programs import DIGITS, Programs

ENCODER = "sem_seg_head.pixel_decoder.transformer.encoder"


def sound(programs: Programs, **options: object) -> list[str]:
    """The names of the checks of such a program, all of which pass."""
    found = list(checks(programs.directory(DIGITS, **options)))
    assert [c for c in found if not c.passed] == []
    return [c.what for c in found]


def test_a_part_of_the_model(programs: Programs) -> None:
    names = sound(programs, SCOPE=ENCODER)
    assert "output → encoder.layers.0" in names
    assert "output → encoder.input" in names
    program = programs.loaded(DIGITS, SCOPE=ENCODER)
    assert list(program.interface.targets) == ["output"]


def test_padding_masks(programs: Programs) -> None:
    assert "class_logit → input" in sound(programs, PADDING_MASK=True)
    program = programs.loaded(DIGITS, PADDING_MASK=True)
    assert list(program.interface.inputs) == ["images", "padding_mask"]


@pytest.mark.parametrize("composite", COMPOSITES)
def test_every_composite(programs: Programs, composite: str) -> None:
    assert "class_logit → input" in sound(programs, COMPOSITE=composite)
