"""Semantic and panoptic results of queries are those of transformers' image processors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.commands.session.detect import find_detections
from lrpc.commands.session.facts import read_facts
from lrpc.models.maskdino.segments import Results, Sizes
from lrpc.models.query_segments import panoptic, semantic
from tests.support.saved_models import library

HOW = Results(panoptic=True, threshold=0.5, overlap=0.8, cross_entropy=True, processor=True)
LARGE, SMALL = (190, 255), (20, 27)


def outputs(seed: int) -> dict[str, Tensor]:
    """Twelve queries of three classes and of none, some of them sure, each with a cell of its own
    and parts of others."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(12, 4, generator=generator) * 3
    coarse = torch.randn(12, 12, generator=generator) * 3 - 6 + 12 * torch.eye(12)
    coarse = coarse.view(12, 3, 4)
    masks = F.interpolate(coarse[None], size=(24, 32), mode="bilinear", align_corners=False)[0]
    return {"pred_logits": logits, "pred_masks": masks}


def processed(task: str, given: dict[str, Tensor], size: tuple[int, int], **more: Any) -> Any:
    """What transformers makes of them."""
    own = SimpleNamespace(
        class_queries_logits=given["pred_logits"][None],
        masks_queries_logits=given["pred_masks"][None],
    )
    make = getattr(library.OneFormerImageProcessor, f"post_process_{task}_segmentation")
    return make(None, own, target_sizes=[size], **more)[0]


def sizes(original: tuple[int, int]) -> Sizes:
    return Sizes((96, 128), (96, 128), original)


@pytest.mark.parametrize("size", [LARGE, SMALL])
@pytest.mark.parametrize("seed", [0, 1])
def test_classes_of_pixels(seed: int, size: tuple[int, int]) -> None:
    given = outputs(seed)
    found = semantic(given, sizes(size))
    wanted = processed("semantic", given, size, return_segmentation_scores=True)
    torch.testing.assert_close(found, wanted["segmentation_scores"], rtol=1e-6, atol=1e-6)
    assert torch.equal(found.argmax(0), wanted["segmentation"])
    assert len(found.argmax(0).unique()) > 1


@pytest.mark.parametrize("size", [LARGE, SMALL])
@pytest.mark.parametrize("seed", range(4))
def test_segments(seed: int, size: tuple[int, int]) -> None:
    given = outputs(seed)
    numbers, found = panoptic(given, sizes(size), HOW)
    wanted = processed("panoptic", given, size)
    assert torch.equal(numbers, wanted["segmentation"].clamp(min=0).int())
    mine = [(one.id, one.label, round(one.score, 6)) for one in found]
    assert mine == [(s["id"], s["label_id"], s["score"]) for s in wanted["segments_info"]]
    assert [one.area for one in found] == [int((numbers == one.id).sum()) for one in found]


def test_some_segments_are_found_and_some_dropped() -> None:
    counts = [len(panoptic(outputs(seed), sizes(LARGE), HOW)[1]) for seed in range(4)]
    sure = [
        int((outputs(seed)["pred_logits"].softmax(-1)[:, :-1] > 0.5).sum()) for seed in range(4)
    ]
    assert sum(counts) > 12
    assert sum(counts) < sum(sure)


@pytest.mark.parametrize("seed", range(4))
def test_segments_of_no_things_are_one(seed: int) -> None:
    """Transformers gives what it fuses one number as well, and later ones a number again that is
    taken: so they are compared by class."""
    given = outputs(seed)
    numbers, found = panoptic(given, sizes(LARGE), Results(**{**vars(HOW), "things": frozenset()}))
    wanted = processed("panoptic", given, LARGE)
    label = {s["id"]: s["label_id"] for s in wanted["segments_info"]}
    assert len({one.label for one in found}) == len(found) == len(set(label.values()))
    own = {one.id: one.label for one in found}
    mine = torch.tensor([-1, *(own[i] for i in range(1, len(own) + 1))])[numbers]
    theirs = torch.tensor([-1, *(label[i] for i in range(1, len(label) + 1))])
    assert torch.equal(mine, theirs[wanted["segmentation"].clamp(min=0).int()])
    assert [one.area for one in found] == [int((numbers == one.id).sum()) for one in found]


def test_nothing_is_found_where_no_query_is_sure() -> None:
    given = outputs(0) | {"pred_logits": torch.zeros(12, 4)}
    numbers, found = panoptic(given, sizes(LARGE), HOW)
    assert (int(numbers.max()), found) == (0, [])


def test_padding_is_left_out() -> None:
    """As if the masks were of the image alone."""
    given = outputs(0)
    padded = given | {"pred_masks": F.pad(given["pred_masks"], (0, 8, 0, 6), value=20.0)}
    places = Sizes((120, 160), (96, 128), LARGE)
    torch.testing.assert_close(semantic(padded, places), semantic(given, sizes(LARGE)))


@pytest.mark.parametrize("task", ["instance", "semantic", "panoptic"])
def test_the_task_of_a_program_says_which_results_there_are(task: str) -> None:
    source = {"SOURCE": "transformers:folder", "TEXT": task}
    manifest = {
        "inputs": {"images": "f32[B,3,64,64]"},
        "outputs": {"pred_logits": "f32[B,12,4]", "pred_masks": "f32[B,12,16,16]"},
        "config": {"LRPC": source},
    }
    found = read_facts(manifest).results
    assert (found.semantic, found.panoptic) == (task == "semantic", task == "panoptic")
    assert found.processor
    assert Results(**{**vars(found), "panoptic": True, "semantic": False}) == HOW


@pytest.mark.parametrize(
    ("processor", "apart"),
    [("MaskFormerImageProcessor", 0.04), ("Mask2FormerImageProcessor", 5e-3)],
)
def test_instances_score_nearly_as_in_transformers(processor: str, apart: float) -> None:
    """It counts masks on the grid of the model (MaskFormer) or at 384 × 384 (Mask2Former), we at
    the size on disk: the classes and their order among sure ones are the same."""
    given = outputs(0)
    own = SimpleNamespace(
        class_queries_logits=given["pred_logits"][None],
        masks_queries_logits=given["pred_masks"][None],
    )
    make = getattr(library, processor).post_process_instance_segmentation
    (found,) = make(None, own, threshold=0.2, target_sizes=[LARGE])
    wanted = sorted((-s["score"], s["label_id"]) for s in found["segments_info"])[:6]
    mine = find_detections(given, (96, 128), (96, 128), 0.2, 6, original=LARGE, classes=3)
    assert [one.label for one in mine] == [label for _, label in wanted]
    scores = [one.score for one in mine]
    assert scores == pytest.approx([-score for score, _ in wanted], abs=apart)
