"""Semantic, panoptic and instance results against those of the released code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.commands.session.detect import find_detections
from lrpc.models.maskdino.segments import Results, Segment, Sizes, panoptic, semantic
from tests.support.maskdino_cases import GOLDEN

SIZES = Sizes((96, 128), (90, 120), (133, 177))
THINGS = frozenset({0, 1, 2, 4})
BASE = Results(True, True, 0.4, 0.12, 0.06, things=THINGS, classes=7)
CASES = {
    "panoptic": BASE,
    "plain": replace(BASE, sharpen=False, overlap=0.0, threshold=0.6),
    "last": replace(BASE, resize_last=True),
    "cross_entropy": replace(BASE, cross_entropy=True, resize_last=True),
    "none": replace(BASE, threshold=0.999),
}


def outputs(rows: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(30, rows, generator=generator) * 1.5 - 1
    coarse = torch.randn(30, 5, 6, generator=generator) * 4 - 1
    masks = F.interpolate(coarse[None], size=(24, 32), mode="bilinear", align_corners=False)[0]
    return {"pred_logits": logits, "pred_masks": masks}


@pytest.mark.parametrize("name", CASES)
def test_results_are_those_of_the_released_code(name: str) -> None:
    how = CASES[name]
    found = outputs(8 if how.cross_entropy else 7)
    with np.load(GOLDEN / "segments.npz") as arrays:
        golden = {k.partition("/")[2]: arrays[k] for k in arrays.files if k.startswith(f"{name}/")}
    scores = semantic(found, SIZES, how)
    assert scores.shape[1:] == SIZES.original
    torch.testing.assert_close(scores[:, ::11, ::13], torch.from_numpy(golden["scores"]))
    assert scores.argmax(0).numpy().tolist() == golden["semantic"].tolist()
    if "panoptic" in golden:
        numbers, segments = panoptic(found, SIZES, how)
        assert numbers.numpy().tolist() == golden["panoptic"].tolist()
        assert [[s.id, s.label, s.thing] for s in segments] == golden["info"].tolist()
        assert [s.area for s in segments] == [int((numbers == s.id).sum()) for s in segments]


def test_segments_of_no_things_are_one_for_each_class() -> None:
    numbers, segments = panoptic(outputs(7), SIZES, replace(BASE, overlap=0.0, things=frozenset()))
    assert len({s.label for s in segments}) == len(segments)
    assert any(len(s.queries) > 1 for s in segments)
    assert not any(s.thing for s in segments)
    numbers, apart = panoptic(outputs(7), SIZES, replace(BASE, overlap=0.0, things=None))
    assert len(apart) == sum(len(s.queries) for s in segments) == int(numbers.max())


def test_nothing_above_the_threshold_gives_an_empty_map() -> None:
    numbers, segments = panoptic(outputs(7), SIZES, CASES["none"])
    assert (segments, int(numbers.max()), numbers.dtype) == ([], 0, torch.int32)


def test_one_mask_is_one_segment() -> None:
    masks = torch.full((2, 24, 32), -8.0)
    masks[1, 4:12, 8:16] = 8.0
    logits = torch.tensor([[-9.0, -9.0], [-9.0, 3.0]])
    given = {"pred_logits": logits, "pred_masks": masks}
    how = Results(threshold=0.5, sharpen=False)
    numbers, (one,) = panoptic(given, Sizes((96, 128), (96, 128), (96, 128)), how)
    score = float(torch.tensor(3.0).sigmoid())
    assert one == Segment(1, 1, True, pytest.approx(score), (1,), int((numbers == 1).sum()))
    assert bool((numbers[17:47, 33:63] == 1).all())
    assert one.area <= 32 * 32


def test_instances_of_panoptic_results_are_things_alone() -> None:
    """The released code chooses the best 20 pairs here, and drops what is no thing."""
    with np.load(GOLDEN / "segments.npz") as arrays:
        released = arrays["panoptic/instances"].tolist()
    given = outputs(7) | {"pred_boxes": torch.rand(30, 4)}
    sizes = (SIZES.frame, SIZES.valid)
    found = find_detections(given, *sizes, 0.0, 100, original=SIZES.original, things=THINGS)
    assert {one.label for one in found} <= THINGS
    ours = [(one.score, one.label) for one in found]
    for score, label in released:
        assert any(label == own and score == pytest.approx(s, abs=1e-5) for s, own in ours)
