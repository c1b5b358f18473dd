"""The two float64 oracles against the model, against each other, and against explicit sums."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lrpc.models.maskdino import build_maskdino
from tests.models.test_maskdino_model import small_config
from tests.oracle.concentration import by_oracle, summarise
from tests.oracle.detached import Detached
from tests.oracle.rform import RForm, RFormAlgebra
from tests.oracle.targets import (
    Box,
    ClassLogit,
    DecoderQuery,
    EncoderFeature,
    MaskLogit,
    Target,
)
from tests.support.maskdino_cases import digits_image, digits_model, needs_all_scenes

PLACES = ("input", "res2", "res5", "encoder.input", "encoder.layers.0", "decoder.layers.0")
TARGETS: tuple[Target, ...] = (
    ClassLogit(0, 5),
    MaskLogit(0, 30, 7),
    Box(0, 1),
    EncoderFeature(1, 3),
    EncoderFeature(2, 3, token=17),
    DecoderQuery(1, 0),
)


def largest_difference(found: Tensor, expected: Tensor) -> float:
    """Relative to the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max())


def scene() -> Tensor:
    return digits_image("02").double()


def test_epsilon_rule_is_the_explicit_sum() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, arriving = (
        torch.randn(*size, generator=generator, dtype=torch.float64)
        for size in ((4,), (3, 4), (3,), (3,))
    )
    weight[1], bias[1] = 0, 0  # this output is exactly zero: sgn(0) = +1
    point = x.clone().requires_grad_()
    z = RFormAlgebra("cp_lrp", 0.25).linear(point, weight, bias)
    (found,) = torch.autograd.grad(z, point, arriving)
    expected = torch.zeros(4, dtype=torch.float64)
    for j in range(3):
        total = float(sum(x[i] * weight[j, i] for i in range(4)) + bias[j])
        for i in range(4):
            stabilised = total + (0.25 if total >= 0 else -0.25)
            expected[i] += x[i] * weight[j, i] / stabilised * arriving[j]
    torch.testing.assert_close(found, expected)


def test_walk_gives_the_model_s_outputs() -> None:
    model = digits_model(torch.float64)
    expected = model.intermediates(scene())
    for run in (Detached(model, scene(), "attnlrp"), RForm(model, scene(), "attnlrp")):
        for name in ("res5", "mask_features", "pred_logits", "pred_boxes", "pred_masks"):
            assert largest_difference(run.values[name].detach(), expected[name]) < 1e-12, name


@pytest.mark.parametrize("target", TARGETS[:2])
def test_nothing_detached_is_the_gradient_of_the_model(target: Target) -> None:
    model = digits_model(torch.float64)
    image = scene().requires_grad_()
    outputs = model(image)
    value = outputs["pred_logits"][0, 0, 5]
    if isinstance(target, MaskLogit):
        value = outputs["pred_masks"][0, 0, 30, 7]
    (gradient,) = torch.autograd.grad(value, image)
    expected = model.normalize(image).detach() * gradient * model.normalize.std
    run = Detached(model, scene(), "gradient_input", follow_offsets=True, follow_queries=False)
    assert largest_difference(run.relevance(target)["input"], expected) < 1e-10


@pytest.mark.parametrize("rules", ["cp_lrp", "attnlrp"])
def test_both_forms_agree_without_stabiliser(rules: str) -> None:
    model = digits_model(torch.float64)
    detached, rform = Detached(model, scene(), rules), RForm(model, scene(), rules, 1e-12)
    for target in TARGETS:
        expected, found = detached.relevance(target, PLACES), rform.relevance(target, PLACES)
        for place in PLACES:
            if expected[place].any():
                assert largest_difference(found[place], expected[place]) < 1e-6, (target, place)
            else:
                assert not found[place].any()


@pytest.mark.parametrize(
    "changes",
    [
        {
            "SEM_SEG_HEAD__TOTAL_NUM_FEATURE_LEVELS": 5,
            "SEM_SEG_HEAD__NORM": "",
            "MaskDINO__INITIALIZE_BOX_TYPE": "no",
        },
        {"MaskDINO__TWO_STAGE": False, "MaskDINO__INITIALIZE_BOX_TYPE": "no"},
        {"SEM_SEG_HEAD__FEATURE_ORDER": "low2high", "MaskDINO__LEARN_TGT": True},
    ],
)
def test_walk_follows_every_configuration(changes: dict[str, object]) -> None:
    model = build_maskdino(small_config(**changes)).double()
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(2, 3, 64, 96, generator=generator, dtype=torch.float64) * 255
    run = Detached(model, image, "cp_lrp")
    for name, value in model(image).items():
        assert largest_difference(run.values[name].detach(), value) < 1e-9, name
    assert run.relevance(ClassLogit(2, 1))["input"].any()


@needs_all_scenes
@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "concentration", "kept"),
    [
        ("model_gradient", 12.0, 0.04),
        ("cp_lrp", 12.1, 2.3),
        ("attnlrp", 12.9, 0.65),
    ],
)
def test_concentration_on_digits(method: str, concentration: float, kept: float) -> None:
    summary = summarise(by_oracle(method))
    assert summary.detections == 36
    assert summary.concentration == pytest.approx(concentration, abs=0.06)
    assert summary.kept == pytest.approx(kept, rel=0.03)
