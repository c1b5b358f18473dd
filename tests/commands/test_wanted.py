"""`--class` and `--at`: which detections are explained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lrpc.cli import main
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.missed import missed, nearest_query
from lrpc.commands.session.targets import TargetError
from lrpc.commands.session.wanted import Wanted
from lrpc.program.protocol import Detection

NAMES = ("cat", "dog")
# An image of 200×400 on disk, at half its size in a frame of 128×256.
IMAGE = LoadedImage(Path("a.png"), torch.zeros(3, 128, 256), (100, 200), (200, 400))
WHOLE = Detection(0, 0, 0.9, (0, 0, 200, 100), None)
LEFT = Detection(1, 1, 0.8, (10, 10, 60, 60), None)
SMALL = Detection(2, 0, 0.7, (20, 20, 40, 40), None)
FOUND = [WHOLE, LEFT, SMALL]


@pytest.mark.parametrize(
    ("classes", "points", "wanted"),
    [
        ((), (), FOUND),
        (("dog",), (), [LEFT]),
        (("0",), (), [WHOLE, SMALL]),
        (("cat", "1"), (), FOUND),
        ((), ((60, 60),), [SMALL]),  # (30, 30) in the frame
        ((), ((30, 30),), [LEFT]),
        (("cat",), ((30, 30),), [WHOLE]),
        ((), ((60, 60), (399, 199)), [WHOLE, SMALL]),
        (("dog",), ((399, 199),), []),
    ],
)
def test_which_are_explained(
    classes: tuple[str, ...], points: tuple[tuple[float, float], ...], wanted: list[Detection]
) -> None:
    asked = Wanted(classes, points)
    labels = asked.labels(NAMES, 2)
    assert asked.of(FOUND, IMAGE, labels, 9) == wanted
    assert asked.of(FOUND, IMAGE, labels, 1) == wanted[:1]
    assert bool(asked) == bool(classes or points)


def test_equal_detections_are_two() -> None:
    twin = replace(SMALL)
    assert Wanted(points=((60, 60),)).of([SMALL, twin], IMAGE, set(), 9) == [SMALL]


@pytest.mark.parametrize(
    ("text", "hint"), [("dgo", "'dog'"), ("2", "cat, dog"), ("-1", "cat, dog")]
)
def test_an_unknown_class_is_refused(text: str, hint: str) -> None:
    with pytest.raises(TargetError, match=hint):
        Wanted((text,)).labels(NAMES, 2)


@pytest.mark.parametrize("text", ["5", "5;5", "a,b", "1,-3", "1,2,3", "nan,1"])
def test_a_point_is_two_numbers(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "DIR", "--images", "a.png", "-o", "out", "--at", text])
    assert "is not X,Y" in capsys.readouterr().err


OUTPUTS = {
    "pred_logits": torch.tensor([[0.0, -3.0], [-2.0, -1.0], [1.0, 2.0]]),
    "pred_boxes": torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]]),
}
MASKS = torch.full((3, 4, 8), -1.0)
MASKS[0], MASKS[1, 1:3, 3:5], MASKS[2, 0, 0] = -0.5, 2.0, 3.0


@pytest.mark.parametrize("masks", [False, True])
def test_what_is_missed_is_the_likeliest_query_at_the_point_or_the_nearest(masks: bool) -> None:
    outputs = {**OUTPUTS} if not masks else {"pred_logits": OUTPUTS["pred_logits"]}
    outputs |= {"pred_masks": MASKS} if masks else {}
    frame, middle = (100, 200), (100.0, 50.0)
    assert nearest_query(outputs, 1, middle, frame) == 1  # two boxes hold it
    assert nearest_query(outputs, 0, middle, frame) == (1 if masks else 0)
    assert nearest_query(outputs, 0, (10.0, 10.0), frame) == 2
    assert nearest_query(outputs, 0, (199.0, 99.0), frame) == 0  # no box holds it
    assert missed(outputs, [0, 1], [(10.0, 10.0), (12.0, 11.0)], frame) == [(2, 0), (2, 1)]


def test_what_is_missed_needs_a_class_and_a_place() -> None:
    for asked in (Wanted(missed=True), Wanted(("cat",), missed=True)):
        with pytest.raises(TargetError, match="--missed: say what is missed: --class NAME and"):
            asked.check(True)
    Wanted(("cat",), missed=True).check(False)
    with pytest.raises(TargetError, match=r"--class NAME$"):
        Wanted(missed=True).check(False)
