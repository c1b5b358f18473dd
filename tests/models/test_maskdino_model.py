"""The embedded model beyond its golden outputs: configurations, weights, padding, boxes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lrpc.errors import ConfigError, WeightsError
from lrpc.models.extents import differing_keys
from lrpc.models.maskdino import build_maskdino, construct_maskdino, masks_to_boxes, seeded_weights
from tests.support.maskdino_cases import golden_config


def small_config(**changes: Any) -> Any:
    """A narrow model of the `3s` kind; `changes` are keys below MODEL, dots written as `__`."""
    config = golden_config("3s")
    config.MODEL.SWIN = golden_config("swin").MODEL.SWIN
    defaults = {
        "RESNETS__STEM_OUT_CHANNELS": 8,
        "RESNETS__WIDTH_PER_GROUP": 8,
        "RESNETS__RES2_OUT_CHANNELS": 32,
        "SEM_SEG_HEAD__TRANSFORMER_ENC_LAYERS": 1,
        "SEM_SEG_HEAD__DIM_FEEDFORWARD": 64,
        "SEM_SEG_HEAD__NUM_CLASSES": 5,
        "MaskDINO__DIM_FEEDFORWARD": 64,
        "MaskDINO__DEC_LAYERS": 2,
        "MaskDINO__NUM_OBJECT_QUERIES": 6,
    }
    for path, value in {**defaults, **changes}.items():
        *parents, last = path.split("__")
        node = config.MODEL
        for parent in parents:
            node = getattr(node, parent)
        setattr(node, last, value)
    return config


def image(height: int = 64, width: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, height, width, generator=generator) * 255


SWIN = {"BACKBONE__NAME": "D2SwinTransformer"}
VARIANTS: dict[str, dict[str, Any]] = {
    "five levels": {"SEM_SEG_HEAD__TOTAL_NUM_FEATURE_LEVELS": 5},
    "five levels, low to high": {
        "SEM_SEG_HEAD__TOTAL_NUM_FEATURE_LEVELS": 5,
        "SEM_SEG_HEAD__FEATURE_ORDER": "low2high",
    },
    "learned content": {"MaskDINO__LEARN_TGT": True},
    "resnet 101": {"RESNETS__DEPTH": 101},
    "grouped, dilated": {
        "RESNETS__NUM_GROUPS": 2,
        "RESNETS__RES5_DILATION": 2,
        "RESNETS__STRIDE_IN_1X1": True,
    },
    "narrow encoder": {"SEM_SEG_HEAD__CONVS_DIM": 64},
    "swin": {**SWIN, "SWIN__DEPTHS": [1, 2, 1, 1], "SWIN__WINDOW_SIZE": 5},
    "no initial prediction": {
        "MaskDINO__INITIAL_PRED": False,
        "MaskDINO__INITIALIZE_BOX_TYPE": "no",
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_runs_and_ignores_the_batch(name: str) -> None:
    model = build_maskdino(small_config(**VARIANTS[name]))
    pair = torch.cat([image(), image().flip(-1)])
    outputs = model(pair)
    assert outputs["pred_logits"].shape == (2, 6, 5)
    assert outputs["pred_boxes"].shape == (2, 6, 4)
    assert outputs["pred_masks"].shape == (2, 6, 16, 24)
    for key, value in model(pair[1:]).items():
        torch.testing.assert_close(value[0], outputs[key][1], rtol=1e-3, atol=1e-4)


def test_positions_of_extra_levels_are_not_reversed() -> None:
    config = small_config(SEM_SEG_HEAD__TOTAL_NUM_FEATURE_LEVELS=5)
    decoder = build_maskdino(config).sem_seg_head.pixel_decoder
    features = {
        stage: torch.zeros(1, decoder.spec.backbone.channels(stage), 64 // s, 64 // s)
        for stage, s in (("res2", 4), ("res3", 8), ("res4", 16), ("res5", 32))
    }
    maps, codes = decoder.levels(features)
    assert [m.shape[-1] for m in maps] == [1, 1, 2, 4, 8]
    features = {
        key: torch.zeros(1, v.shape[1], v.shape[2] * 2, 2 * v.shape[3])
        for key, v in features.items()
    }
    maps, codes = decoder.levels(features)
    assert [m.shape[-1] for m in maps] == [1, 2, 4, 8, 16]
    assert [code.shape[1] for code in codes] == [4, 1, 16, 64, 256]


def test_nothing_padded_changes_nothing() -> None:
    model = build_maskdino(small_config()).double()
    pixels = image().double()
    plain = model(pixels)
    masked = model(pixels, torch.zeros(1, 64, 96, dtype=torch.bool))
    for key, value in plain.items():
        torch.testing.assert_close(masked[key], value)


def test_padded_pixels_do_not_matter() -> None:
    model = build_maskdino(small_config())
    padding = torch.zeros(1, 64, 128, dtype=torch.bool)
    padding[:, :, 96:] = True
    first = torch.cat([image(), torch.zeros(1, 3, 64, 32)], -1)
    second = torch.cat([image(), torch.full((1, 3, 64, 32), 200.0)], -1)
    expected = model(first, padding)
    for key, value in model(second, padding).items():
        assert torch.isfinite(value).all()
        torch.testing.assert_close(value, expected[key])


def test_building_is_deterministic_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    model = build_maskdino(small_config())
    assert torch.equal(before, torch.random.get_rng_state())
    assert not model.training
    weights = seeded_weights(model)
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())
    other = seeded_weights(model, seed=1)
    assert not torch.equal(other["backbone.stem.conv1.weight"], model.backbone.stem.conv1.weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"BACKBONE__NAME": "build_fpn"}, r"MODEL.BACKBONE.NAME: 'build_fpn' is not supported"),
        ({**SWIN, "SWIN__DEPTHS": [2, 2, 2]}, r"SWIN.DEPTHS: expected four positive integers"),
        ({**SWIN, "SWIN__NUM_HEADS": [2, 5, 4, 8]}, r"5 heads do not divide the 48 .* res3"),
        ({**SWIN, "SWIN__PATCH_SIZE": 2}, r"PATCH_SIZE: 2 is not supported"),
        ({**SWIN, "SWIN__OUT_FEATURES": ["res3"]}, r"res4 is not in MODEL.SWIN.OUT_FEATURES"),
        ({"RESNETS__DEPTH": 18}, r"MODEL.RESNETS.DEPTH: 18 is not supported"),
        ({"SEM_SEG_HEAD__FEATURE_ORDER": "up"}, r"FEATURE_ORDER: 'up' is not supported"),
        ({"MaskDINO__HIDDEN_DIM": 128}, r"MODEL.MaskDINO.HIDDEN_DIM: 128, must be 256"),
        ({"MaskDINO__TWO_STAGE": False}, r"'bitmask' needs TWO_STAGE"),
        ({"MaskDINO__DEC_LAYERS": "many"}, r"DEC_LAYERS: expected a positive integer"),
        ({"SEM_SEG_HEAD__TOTAL_NUM_FEATURE_LEVELS": 2}, r"fewer than the encoder features"),
    ],
)
def test_unsupported_configuration_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_maskdino(small_config(**changes))
    assert "\n" not in str(caught.value)


def test_missing_key_is_named() -> None:
    config = small_config()
    del config.MODEL.MaskDINO.DEC_LAYERS
    with pytest.raises(ConfigError, match=r"^MODEL.MaskDINO.DEC_LAYERS: missing"):
        build_maskdino(config)


def test_weights_that_do_not_fit_are_counted_and_named() -> None:
    weights = dict(build_maskdino(small_config()).state_dict())
    del weights["backbone.stem.conv1.weight"]
    weights["extra"] = torch.zeros(1)
    key = "sem_seg_head.predictor.enc_output.bias"
    weights[key] = torch.zeros(3)
    with pytest.raises(WeightsError) as caught:
        build_maskdino(small_config(), weights)
    assert str(caught.value) == (
        "weights do not fit this MaskDINO configuration: "
        "1 missing (backbone.stem.conv1.weight); 1 unexpected (extra); "
        f"1 of another shape ({key}), [3] in the file, [256] in the model\n"
        "  missing: backbone.stem.conv1.weight\n  unexpected: extra\n"
        f"  of another shape: {key}: [3] in the file, [256] in the model"
    )


def shapes_of(**changes: Any) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = construct_maskdino(small_config(**changes))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    "changes",
    [
        {"SEM_SEG_HEAD__NUM_CLASSES": 1},
        {"MaskDINO__NUM_OBJECT_QUERIES": 9, "MaskDINO__TWO_STAGE": False},
        {"MaskDINO__DEC_LAYERS": 1, "SEM_SEG_HEAD__TRANSFORMER_ENC_LAYERS": 3},
        {"MaskDINO__DIM_FEEDFORWARD": 32, "SEM_SEG_HEAD__DIM_FEEDFORWARD": 96},
        {"MaskDINO__NHEADS": 4, "SEM_SEG_HEAD__TOTAL_NUM_FEATURE_LEVELS": 5},
        {"MaskDINO__LEARN_TGT": True, "SEM_SEG_HEAD__MASK_DIM": 128},
        {"SEM_SEG_HEAD__CONVS_DIM": 64, "SEM_SEG_HEAD__NORM": ""},
        {"MaskDINO__ENFORCE_INPUT_PROJ": True},
        {"RESNETS__DEPTH": 101, "RESNETS__STEM_OUT_CHANNELS": 16},
        {"RESNETS__RES2_OUT_CHANNELS": 64, "RESNETS__NUM_GROUPS": 2},
        {"RESNETS__WIDTH_PER_GROUP": 16},
        {**SWIN, "SWIN__WINDOW_SIZE": 7, "SWIN__DEPTHS": [1, 2, 3, 1]},
        {**SWIN, "SWIN__APE": True, "SWIN__PRETRAIN_IMG_SIZE": 64, "SWIN__MLP_RATIO": 2.5},
    ],
)
def test_the_keys_that_are_named_make_the_weights_fit(changes: dict[str, Any]) -> None:
    initial = "MaskDINO__INITIALIZE_BOX_TYPE"  # asks for two stages
    own, file = shapes_of(**{initial: "no"}), shapes_of(**{initial: "no"}, **changes)
    found = {
        key.removeprefix("MODEL.").replace(".", "__"): "" if value == "''" else value
        for key, (_, value) in differing_keys(own, file).items()
    }
    assert shapes_of(**{initial: "no"}, **found) == file
    assert set(changes) <= set(found)


def test_masks_to_boxes() -> None:
    masks = torch.zeros(1, 2, 5, 7, dtype=torch.bool)
    masks[0, 0, 1:3, 2:6] = True
    assert masks_to_boxes(masks, "bitmask")[0].tolist() == [[2, 1, 6, 3], [0, 0, 0, 0]]
    empty = [100000000.0, 100000000.0, 0, 0]
    assert masks_to_boxes(masks, "mask2box")[0].tolist() == [[2, 1, 5, 2], empty]
