"""Attention as data: what the model's own modules compute, by hooks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.errors import ProgramError
from lrpc.models.maskdino import MaskDINOSpec
from lrpc.models.maskdino.backbone_specs import SwinSpec
from lrpc.models.maskdino.layers import MSDeformAttn, sampling_locations
from lrpc.models.maskdino.swin import SwinTransformer
from tests.models.test_maskdino_model import SWIN, small_config
from tests.support.maskdino_cases import digits_image, digits_model
from tests.support.programs import ANY_SIZE, DIGITS, Programs

DECODER = "sem_seg_head.predictor.decoder.layers."
ENCODER = "sem_seg_head.pixel_decoder.transformer.encoder.layers."


def by_hooks(model: nn.Module, images: Tensor) -> dict[str, Any]:
    """Weights, and for deformable attention points, of each module, from what it is called with."""
    found: dict[str, Any] = {}

    def note(name: str, module: nn.Module, args: Any) -> None:
        if isinstance(module, MSDeformAttn):
            query, references, shapes = args[0], args[1], args[3]
            split = (module.n_heads, module.n_levels, module.n_points)
            offsets = module.sampling_offsets(query).unflatten(-1, (*split, 2))
            weights = module.attention_weights(query).unflatten(-1, (module.n_heads, -1))
            shares = weights.softmax(-1).unflatten(-1, split[1:])
            found[name] = shares, sampling_locations(references, offsets, shapes), shapes
        elif isinstance(module, nn.MultiheadAttention):
            found[name] = module.forward(*args, average_attn_weights=False)[1]

    handles = []
    for name, module in model.named_modules():
        if isinstance(module, MSDeformAttn | nn.MultiheadAttention):
            handle = module.register_forward_pre_hook(lambda m, a, n=name: note(n, m, a))
            handles.append(handle)
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return found


def test_attention_is_what_the_modules_compute(programs: Programs) -> None:
    program = programs.digits()
    images = torch.cat([digits_image("02"), digits_image("05")])
    found = lrpc.attention(program, program.forward(images))
    wanted = by_hooks(digits_model(), images)
    assert set(found) == set(wanted)
    assert len(found) == 9  # one in an encoder layer, two in a decoder layer
    for name, one in found.items():
        expected = wanted[name]
        if one.points is None:
            torch.testing.assert_close(one.weights, expected, rtol=1e-3, atol=1e-5)
            assert one.weights.shape == (2, 8, 50, 50)
            torch.testing.assert_close(one.weights.sum(-1), torch.ones(2, 8, 50))
            continue
        weights, points, shapes = expected
        torch.testing.assert_close(one.weights, weights, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(one.points, points.expand_as(one.points), rtol=1e-3, atol=1e-4)
        assert one.levels == tuple(shapes)


def test_levels_and_queries(programs: Programs) -> None:
    program = programs.digits()
    state = program.forward(digits_image("05"))
    name = f"{DECODER}1.cross_attn"
    (one,) = lrpc.attention(program, state, "*decoder.layers.1.cross_attn").values()
    assert (one.module, one.levels) == (name, ((5, 5), (10, 10), (20, 20)))
    assert one.points is not None
    weights, points = one.level(2)
    assert torch.equal(weights, one.weights[:, :, :, 2])
    assert torch.equal(points, one.points[:, :, :, 2])
    mine = one.of_query(0, 7)
    assert mine.points is not None
    assert mine.weights.shape == (1, 1, 8, 3, 4)
    assert torch.equal(mine.points[0, 0], one.points[0, 7])
    (dense,) = lrpc.attention(program, state, f"{DECODER}0.self_attn").values()
    assert torch.equal(dense.of_query(0, 3).weights[0, :, 0], dense.weights[0, :, 3])
    with pytest.raises(ProgramError, match="dense attention has no levels"):
        dense.level(0)
    with pytest.raises(ProgramError, match="there is no level 3; there are 3"):
        one.level(3)


def test_what_matches_nothing_is_refused(programs: Programs) -> None:
    program = programs.digits()
    state = program.forward(digits_image("05"))
    with pytest.raises(ProgramError) as caught:
        lrpc.attention(program, state, f"{ENCODER}0.self_atn")
    said = str(caught.value)
    assert said.startswith(f"no attention of this program matches '{ENCODER}0.self_atn'; did you")
    assert "\n" not in said


def test_levels_are_those_of_the_images(programs: Programs) -> None:
    program = programs.loaded(DIGITS, **ANY_SIZE)
    images = digits_image("05")[:, :, :96, :128]
    found = lrpc.attention(program, program.forward(images), "*cross_attn")
    assert {one.levels for one in found.values()} == {((3, 4), (6, 8), (12, 16))}


def test_windows_lie_in_the_first_axis() -> None:
    config = small_config(**SWIN, SWIN__DEPTHS=[1, 1, 1, 1], SWIN__WINDOW_SIZE=8)
    spec = MaskDINOSpec.from_config(config).backbone
    assert isinstance(spec, SwinSpec)
    x = torch.randn(1, 3, 96, 64)
    program = lrpc.compile(SwinTransformer(spec).eval(), (x,), composite="cp_lrp", check=False)
    found = lrpc.attention(program, program.forward(torch.cat([x, x + 1])), "layers.0.*")
    assert found["layers.0.blocks.0.attn"].weights.shape == (2 * 3 * 2, 2, 64, 64)
