"""A text detector and a recogniser from ONNX, on text that is drawn here and on a photograph."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from tools.bench.torchvision_ops import declare

declare()  # onnx2torch imports torchvision
EXAMPLES = Path(__file__).parents[2] / "examples"
REASON = "pip install --no-deps rapidocr-onnxruntime==1.4.4 onnx2torch==1.5.15"
runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("skimage")
if not (find_spec("rapidocr_onnxruntime") and find_spec("onnx2torch")):
    pytest.skip(REASON, allow_module_level=True)  # the first is not imported: it wants OpenCV


@pytest.fixture(scope="module")
def study() -> Iterator[Any]:
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield __import__("rapidocr_study")
    finally:
        sys.path.remove(str(EXAMPLES))


COMPOSITES = {"epsilon": "epsilon", "epsilon_plus": "epsilon_plus"}


@pytest.fixture(scope="module")
def detector(study: Any) -> Any:
    return study.program("detector", COMPOSITES)


@pytest.fixture(scope="module")
def recogniser(study: Any) -> Any:
    return study.program("recogniser", COMPOSITES)


def original(study: Any, name: str, images: torch.Tensor) -> torch.Tensor:
    """What onnxruntime makes of the file as it is: probabilities."""
    session = runtime.InferenceSession(
        str(study.ocr.file(name)), providers=["CPUExecutionProvider"]
    )
    blue_first = (images / 127.5 - 1).flip(1).contiguous()
    (found,) = session.run(None, {session.get_inputs()[0].name: blue_first.numpy()})
    return torch.from_numpy(found)


@pytest.mark.parametrize("name", ["drawn", "page"])
def test_text_is_found_where_the_original_finds_it(study: Any, detector: Any, name: str) -> None:
    images = study.pixels(study.photographs()[name])
    logits = detector.forward(images).outputs["pixel_logits"]
    wanted = original(study, study.ocr.DETECTOR, images)
    torch.testing.assert_close(logits.softmax(1)[:, 1:], wanted, rtol=0, atol=1e-4)
    assert 0.02 < float((wanted > 0.5).float().mean()) < 0.3


def test_relevance_of_a_region_and_of_a_pixel(study: Any, detector: Any) -> None:
    """ε leaves two fifths of what is positive outside the text, z⁺ less than a fifth."""
    images = study.pixels(study.photographs()["drawn"])
    for composite, least in (("epsilon", 0.5), ("epsilon_plus", 0.8)):
        found, inside = study.region(detector, images, composite)
        assert float(found.ledger.closure.max()) < 1e-4
        assert float(found.ledger.sinks["bias"].sum() / found.ledger.start.sum()) > 0.95
        assert study.positive(found.input[0, 0], inside) > least
        y, x = (int(n) for n in inside.nonzero()[0])
        state = detector.forward(images)
        one = detector.relevance(
            state, "class_pixel", at=[(1, y, x)], composite=composite, ledger=True
        )
        assert float(one.ledger.closure.max()) < 1e-4
        assert float(one.ledger.start) == pytest.approx(
            float(state.outputs["pixel_logits"][0, 1, y, x])
        )


def test_lines_are_read_as_by_the_original(study: Any, recogniser: Any) -> None:
    images = torch.cat([study.pixels(study.line(text)) for text in study.LINES])
    letters = recogniser.forward(images).outputs["letters"]
    wanted = original(study, study.ocr.RECOGNISER, images)
    torch.testing.assert_close(letters.softmax(-1), wanted, rtol=0, atol=1e-4)
    names = study.ocr.characters()
    assert len(names) == wanted.shape[-1]
    read = ["".join(c for _, _, c in study.ocr.read(row, names)) for row in letters]
    assert [read[0], read[2]] == [study.LINES[0], study.LINES[2]]


def test_relevance_of_a_character(study: Any, recogniser: Any) -> None:
    images = study.pixels(study.line("invoice"))
    found, characters = study.letters(recogniser, images, "epsilon")
    assert "".join(character for _, _, character in characters) == "invoice"
    assert found.input.shape == (7, 1, 3, 48, 320)
    assert float(found.ledger.closure.max()) < 1e-4
