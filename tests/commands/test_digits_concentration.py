"""The compiled digits program sees what the released code sees, and its relevance lies where the
digits are: the figures of the digits model's own description, in float32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from lrpc.models.maskdino.postprocess import Detections, detections
from tests.oracle.concentration import summarise
from tests.oracle.targets import ClassLogit
from tests.support.maskdino_cases import ALL_SCENES, digits_image, digits_scenes
from tests.support.programs import Programs

LEAST = 0.4


def test_detections_are_those_of_the_released_code(programs: Programs) -> None:
    program = programs.digits()
    scenes = digits_scenes(ALL_SCENES)
    assert len(scenes) == 24
    for first in range(0, 24, 4):
        batch = scenes[first : first + 4]
        images = torch.cat([digits_image(s["file"].removesuffix(".png")) for s in batch])
        found = detections(program.forward(images).outputs, (160, 160))
        for scene, one in zip(batch, found, strict=True):
            check_scene(scene, one)


def check_scene(scene: dict[str, Any], found: Detections) -> None:
    """Digits and scores, four decimals, above the score that the released code was asked for."""
    known = sorted((d["digit"], d["score"]) for d in scene["released_code_detections"])
    seen = found.scores > LEAST
    got = sorted(zip(found.labels[seen].tolist(), found.scores[seen].tolist(), strict=True))
    assert [digit for digit, _ in got] == [digit for digit, _ in known], scene["file"]
    for (_, score), (_, expected) in zip(got, known, strict=True):
        assert score == pytest.approx(expected, abs=6e-5), scene["file"]


@pytest.mark.parametrize(
    ("rules", "concentration", "kept"),
    [
        ("attnlrp", 12.9, 0.65),
        pytest.param("cp_lrp", 12.1, 2.3, marks=pytest.mark.slow),
        pytest.param("maskdino", 20.2, 2.54, marks=pytest.mark.slow),
    ],
)
def test_relevance_lies_on_the_digits(
    programs: Programs, rules: str, concentration: float, kept: float
) -> None:
    program = programs.digits(rules)

    def explain(image: Tensor, targets: list[ClassLogit]) -> Iterator[Tensor]:
        if not targets:
            return
        state = program.forward(image.float())
        at = [(target.query, target.index) for target in targets]
        yield from program.relevance(state, "class_logit", at=at, read=["input"]).input[:, 0]

    summary = summarise(explain)
    assert summary.detections == 36
    assert summary.concentration == pytest.approx(concentration, abs=0.1)
    assert summary.kept == pytest.approx(kept, rel=0.03)
    assert summary.hits == 1.0
