"""Target expressions, and the seeds that they mean in an image."""

from __future__ import annotations

import pytest
import torch

from lrpc.commands.session.detect import find_detections, strongest_pixel
from lrpc.commands.session.seeds import Scene, resolve
from lrpc.commands.session.targets import TargetError, TargetSpec, parse_target, parse_targets
from tests.support.run_fakes import HEIGHT, WIDTH, FakeProgram

FRAME = (HEIGHT, WIDTH)


def scene(red: float = 250.0) -> Scene:
    state = FakeProgram().forward(torch.full((1, 3, *FRAME), red))
    outputs = {name: value[0] for name, value in state.outputs.items()}
    return Scene(outputs, FRAME, FRAME, find_detections(outputs, FRAME, FRAME, 0.5, 5))


def slugs(*texts: str, red: float = 250.0) -> list[str]:
    return [seed.slug for seed in resolve(parse_targets(texts), scene(red))]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("class_logit", TargetSpec("class_logit")),
        ("class_logit:3,2", TargetSpec("class_logit", None, (3, 2))),
        ("mask_logit:0,10,20", TargetSpec("mask_logit", None, (0, 10, 20))),
        ("box:7,3", TargetSpec("box", None, (7, 3))),
        ("encoder_feature:5:255", TargetSpec("encoder_feature", 5, (255,))),
        ("decoder_query:0:12", TargetSpec("decoder_query", 0, (12,))),
        ("decoder_query:1.ffn.pre_res:2", TargetSpec("decoder_query", "1.ffn.pre_res", (2,))),
        ("layer_class_logit:0:3,2", TargetSpec("layer_class_logit", 0, (3, 2))),
        ("proposal_class_logit:4,1", TargetSpec("proposal_class_logit", None, (4, 1))),
        ("mask", TargetSpec("mask")),
        ("region:1,0,2,5,6", TargetSpec("region", None, (1, 0, 2, 5, 6))),
        ("panoptic_segment:2", TargetSpec("panoptic_segment", None, (2,))),
    ],
)
def test_every_form_parses_and_prints_back(text: str, spec: TargetSpec) -> None:
    assert parse_target(text) == spec
    assert str(spec) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class_logits", "target 'class_logits': unknown kind 'class_logits'; did you mean"),
        ("", "target '': unknown kind ''; known: class_logit, mask_logit, box"),
        ("class_logit:3", "'3' holds 1 of the 2 numbers in 'class_logit:q,c'"),
        ("class_logit:3,x", "'x' is not a number from 0 up"),
        ("class_logit:-1,2", "'-1' is not a number from 0 up"),
        ("box:1,4", "box coordinate '4' is not 0, 1, 2 or 3"),
        ("encoder_feature", "expected 'encoder_feature:LAYER:channel'"),
        ("encoder_feature:3", "expected 'encoder_feature:LAYER:channel'"),
        ("decoder_query:a:1", "'a' is not a number from 0 up"),
        ("encoder_feature:x.ffn:1", "'x.ffn' is not a number from 0 up"),
        ("mask_logit:1,2,3:4", "expected 'mask_logit:q,y,x'"),
        ("mask_logit:1,²,3", "'²' is not a number from 0 up"),
    ],
)
def test_errors_name_the_bad_token(text: str, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert message in str(caught.value)


def test_no_target_means_class_logit_and_repeats_are_dropped() -> None:
    assert parse_targets([]) == (TargetSpec("class_logit"),)
    assert parse_targets(["box", "box"]) == (TargetSpec("box"),)


def test_detections_are_scored_and_bounded() -> None:
    found = scene().found
    assert [(one.query, one.label) for one in found] == [(1, 2), (3, 0)]
    certain = torch.tensor(4.0).sigmoid().item()
    assert 0.9 * certain < found[0].score < certain  # times the mask's mean probability
    assert found[0].box == (12.0, 8.0, 36.0, 24.0)
    assert found[0].mask[16, 24]
    assert not found[0].mask[2, 2]
    outputs = scene().outputs
    assert len(find_detections(outputs, FRAME, FRAME, 0.5, 1)) == 1
    assert [d.query for d in find_detections(outputs, FRAME, FRAME, 0.94, 5)] == [1]
    assert find_detections(outputs, FRAME, FRAME, 0.999, 5) == []


def test_boxes_and_masks_end_where_the_padding_begins() -> None:
    outputs = scene().outputs
    found = find_detections(outputs, FRAME, (32, 20), 0.5, 1)[0]
    assert found.box == (12.0, 8.0, 20.0, 24.0)
    assert found.mask.shape == FRAME
    assert not found.mask[:, 20:].any()
    assert strongest_pixel(outputs, 1, FRAME, (32, 20)) != (4, 5)  # x 5 is padding


def test_targets_without_numbers_follow_the_detections() -> None:
    assert slugs() == ["class_logit-q1-c2", "class_logit-q3-c0"]
    assert slugs(red=150) == ["class_logit-q1-c2"]
    assert slugs(red=50) == []
    assert slugs("mask_logit", red=150) == ["mask_logit-q1-y4-x5"]
    assert slugs("box", red=150) == ["box-q1-cx", "box-q1-cy", "box-q1-w", "box-q1-h"]
    assert slugs("class_logit:1,2", "class_logit", red=150) == ["class_logit-q1-c2"]


def test_explicit_targets_need_no_detection() -> None:
    (seed,) = resolve(parse_targets(["class_logit:0,1"]), scene(50))
    assert seed.value == -5.0
    assert seed.detection is not None
    assert (seed.detection.query, seed.detection.label) == (0, 1)
    (pixel,) = resolve(parse_targets(["mask_logit:1,4,5"]), scene(50))
    assert (pixel.value, pixel.point) == (12.0, (22.0, 18.0))
    (feature,) = resolve(parse_targets(["encoder_feature:2:17"]), scene(50))
    assert (feature.layer, feature.detection, feature.slug) == (2, None, "encoder_feature-L2-c17")
    assert slugs("decoder_query:1:3") == ["decoder_query-L1-q3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class_logit:4,0", "target 'class_logit:4,0': '4' is outside pred_logits [4, 3]"),
        ("mask_logit:0,8,0", "'8' is outside pred_masks [4, 8, 12]"),
        ("decoder_query:0:9", "target 'decoder_query:0:9': '9' is outside pred_logits [4, 3]"),
    ],
)
def test_an_index_outside_the_model_is_refused(text: str, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        resolve(parse_targets([text]), scene())
    assert message in str(caught.value)
