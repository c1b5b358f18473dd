"""The embedded model against outputs of the released implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lrpc.models.maskdino import build_maskdino
from lrpc.models.maskdino.postprocess import detections
from tests.support.maskdino_cases import (
    GOLDEN,
    digits_golden,
    digits_image,
    digits_model,
    digits_scenes,
    golden_config,
)

TOLERANCE = 1e-4
CASES = (
    "3s",
    "3s_dowsample1_2048",
    "4s_dowsample1_2048",
    "ade20k_semantic",
    "swin",
    "swin_variant",
)


def distance(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max())


def match_rows(found: Tensor, expected: Tensor) -> Tensor:
    """For every row of `expected` another row of `found`, the nearest that is still free."""
    distances = torch.cdist(found, expected, compute_mode="donot_use_mm_for_euclid_dist")
    chosen = []
    for column in range(distances.shape[1]):
        row = int(distances[:, column].argmin())
        chosen.append(row)
        distances[row] = torch.inf
    return torch.tensor(chosen)


@pytest.mark.parametrize("case", CASES)
def test_seeded_model_equals_released_code(case: str) -> None:
    model = build_maskdino(golden_config(case))
    with np.load(GOLDEN / f"{case}.npz") as arrays:
        golden = {key: arrays[key] for key in arrays.files}
    keys = {f"{key} {tuple(value.shape)}" for key, value in model.state_dict().items()}
    assert keys == set(golden.pop("keys").tolist())
    expected = {key: torch.from_numpy(value) for key, value in golden.items()}
    image = expected.pop("image")[None]
    with torch.no_grad():
        found = {key: value[0] for key, value in model.intermediates(image).items()}

    per_query = [key for key in expected if key.endswith(("_logits", "_boxes"))]
    order = match_rows(
        torch.cat([found[key] for key in per_query], 1),
        torch.cat([expected[key] for key in per_query], 1),
    )
    masks = expected.pop("pred_masks_first8")
    assert distance(found["pred_masks"][order[:8]], masks) < TOLERANCE
    for key in per_query:
        assert distance(found[key][order], expected.pop(key)) < TOLERANCE, key
    for key, value in expected.items():
        name = key.partition("_first")[0]
        assert distance(found[name][: len(value)], value) < TOLERANCE, key


@pytest.mark.parametrize("case", ["3s", "ade20k_semantic"])
def test_forward_gives_the_last_layer(case: str) -> None:
    model = build_maskdino(golden_config(case))
    image = torch.rand(1, 3, 128, 160, generator=torch.Generator().manual_seed(0)) * 255
    image = torch.cat([image, image.flip(-1)])
    with torch.no_grad():
        outputs, whole = model(image), model.intermediates(image)
    assert set(outputs) == {"pred_logits", "pred_boxes", "pred_masks"}
    for key, value in outputs.items():
        assert torch.equal(value, whole[key]), key


@pytest.mark.parametrize("scene", ["02", "05"])
def test_digits_model_equals_released_code(scene: str) -> None:
    with torch.no_grad():
        found = digits_model().intermediates(digits_image(scene))
    golden = digits_golden()
    for key in ("pred_logits", "pred_boxes", "pred_masks_first8", "memory_0_first16"):
        expected = golden[f"{scene}/{key}"]
        value = found[key.partition("_first")[0]][0][: len(expected)]
        assert distance(value, expected) < TOLERANCE, key


def test_digits_detections_equal_released_code() -> None:
    scenes = digits_scenes()
    images = torch.cat([digits_image(scene["file"].removesuffix(".png")) for scene in scenes])
    with torch.no_grad():
        outputs = digits_model()(images)
    for scene, found in zip(scenes, detections(outputs, (160, 160)), strict=True):
        expected = sorted((d["digit"], d["score"]) for d in scene["released_code_detections"])
        kept = found.scores > 0.4
        pairs = zip(found.labels[kept].tolist(), found.scores[kept].tolist(), strict=True)
        assert sorted((label, round(score, 4)) for label, score in pairs) == expected
