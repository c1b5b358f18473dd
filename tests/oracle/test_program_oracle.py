"""Compiled relevance in float64 against the two oracles, which share no code with the compiler.

At ε = 0 a program must equal the gradient of the partly detached model, with the stabiliser the
relevance carried backwards, in every place that both know, for two images with different targets.
`gradient_input` is the gradient of the model itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from lrpc.config import load_config
from tests.oracle.detached import Detached
from tests.oracle.rform import RForm
from tests.oracle.targets import (
    Box,
    ClassLogit,
    DecoderQuery,
    EncoderFeature,
    MaskLogit,
    Target,
)
from tests.support.maskdino_cases import digits_image
from tests.support.programs import DIGITS, FULL, Programs, difference, noise, strongest

LIMIT = 1e-8
BACKBONE = {f"backbone.{name}": name for name in ("res2", "res3", "res4", "res5")}
Oracle = Detached | RForm


def common_places(encoder: int, decoder: int) -> dict[str, str]:
    """The places of a program that the oracles' walk knows, with the walk's names."""
    names = [f"encoder.layers.{i}" for i in range(encoder)]
    names += [f"decoder.layers.{i}" for i in range(decoder)]
    return {"input": "input", "encoder.input": "encoder.input", **BACKBONE} | {
        name: name for name in names
    }


def two_targets(kind: str, a: tuple[int, int], b: tuple[int, int]) -> tuple[list[Target], Tensor]:
    """Two targets of a kind, and the same two as an index [2, n]; `a`, `b`: (query, class)."""
    match kind:
        case "class_logit":
            return [ClassLogit(*a), ClassLogit(*b)], torch.tensor([a, b])
        case "mask_logit":
            index = [(a[0], 20, 11), (b[0], 9, 21)]
            return [MaskLogit(*i) for i in index], torch.tensor(index)
        case "box":
            index2 = [(a[0], 1), (b[0], 2)]
            return [Box(*i) for i in index2], torch.tensor(index2)
    kind, _, layer = kind.partition(":")
    if kind == "encoder_feature":
        features = [(7,), (200,)]
        return [EncoderFeature(int(layer), c) for (c,) in features], torch.tensor(features)
    return [DecoderQuery(int(layer), q) for q in (a[0], b[0])], torch.tensor([a[:1], b[:1]])


def check(
    program: object, oracle: Oracle, images: Tensor, kinds: Sequence[str], places: dict[str, str]
) -> None:
    """Seed 0 starts `a` in the first image and `b` in the second, seed 1 the other way round."""
    run: object = program
    state = run.forward(images)  # type: ignore[attr-defined]
    logits = state.outputs["pred_logits"]
    a, b = strongest(logits[0]), strongest(logits[1])
    assert a != b
    for kind in kinds:
        targets, index = two_targets(kind, a, b)
        at = torch.stack([index, index.flip(0)])  # [K, B, n]
        found = run.relevance(state, kind, at=at)  # type: ignore[attr-defined]
        got = {"input": found.input, **found.layers}
        shared = {mine: theirs for mine, theirs in places.items() if mine in got}
        assert set(places) - set(shared) == after(kind, places), kind
        expected = [oracle.relevance(target, list(shared.values())) for target in targets]
        for mine, theirs in shared.items():
            want = torch.stack(
                [torch.stack([expected[(k + i) % 2][theirs][i] for i in (0, 1)]) for k in (0, 1)]
            )
            assert want.any(), (kind, mine)
            assert difference(got[mine], want) < LIMIT, (kind, mine)


def after(kind: str, places: dict[str, str]) -> set[str]:
    """The places behind the start of a target, which it cannot reach."""
    part, _, number = kind.partition(":")
    behind: set[str] = set()
    if part == "encoder_feature":
        behind = {p for p in places if p.startswith("decoder.")}
        behind |= {p for p in places if p.startswith("encoder.layers.") and p[15:] > number}
    if part == "decoder_query":
        behind = {p for p in places if p.startswith("decoder.layers.") and p[15:] > number}
    return behind


DIGITS_TARGETS = ("class_logit", "mask_logit", "box", "encoder_feature:2", "decoder_query:2")


SMALL: dict[str, object] = {"PRECISION": "fp64", "SHAPES": [[96, 96]]}


@pytest.fixture(scope="module")
def scenes() -> Tensor:
    """Parts of two scenes."""
    whole = torch.cat([digits_image("02"), digits_image("05")]).double()
    return whole[..., 48:144, 16:112].contiguous()


SLOW_CP = pytest.param("cp_lrp", marks=pytest.mark.slow)
SLOW_ATTN = pytest.param("attnlrp", marks=pytest.mark.slow)


@pytest.mark.parametrize("rules", [SLOW_CP, "attnlrp", "gradient_input"])
def test_digits_without_stabiliser_equal_the_detached_gradient(
    programs: Programs, scenes: Tensor, rules: str
) -> None:
    program = programs.digits(rules, 0.0, **SMALL)
    own = rules == "gradient_input"  # the model's own gradient: its detaches, and locations
    oracle = Detached(
        programs.model(DIGITS, torch.float64),
        scenes,
        rules,
        follow_offsets=own,
        follow_queries=not own,
    )
    check(program, oracle, scenes, DIGITS_TARGETS, common_places(3, 3))


@pytest.mark.parametrize("rules", ["cp_lrp", SLOW_ATTN])
def test_digits_with_stabiliser_equal_relevance_carried_backwards(
    programs: Programs, scenes: Tensor, rules: str
) -> None:
    program = programs.digits(rules, 1e-6, **SMALL)
    oracle = RForm(programs.model(DIGITS, torch.float64), scenes, rules, 1e-6)
    check(program, oracle, scenes, DIGITS_TARGETS, common_places(3, 3))


@pytest.mark.slow
@pytest.mark.parametrize("rules", ["cp_lrp", "attnlrp"])
def test_the_released_size_equals_the_detached_gradient(programs: Programs, rules: str) -> None:
    targets = ("class_logit", "encoder_feature:5", "decoder_query:8")
    names = ["class_logit", "encoder_feature", "decoder_query"]
    program = programs.full(rules, 0.0, PRECISION="fp64", TARGETS=names)
    images = noise(2, 128, 160)
    oracle = Detached(programs.model(FULL, torch.float64), images, rules)
    check(program, oracle, images, targets, common_places(6, 9))
    assert load_config(FULL, []).MODEL.MaskDINO.NUM_OBJECT_QUERIES == 300
