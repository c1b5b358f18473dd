"""Attention rollout against dense matrices, built by sending every token through alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lrpc.commands.evaluate.model import Picture, Subject
from lrpc.commands.evaluate.rollout import CrossAttention, Rollout, to_pixels
from lrpc.commands.evaluate.truth import Framed
from lrpc.commands.session.detect import describe
from lrpc.commands.session.images import LoadedImage
from lrpc.models.maskdino import MaskDINO, build_maskdino
from lrpc.models.maskdino.layers import MSDeformAttn, sample_values, sampling_locations
from tests.support.maskdino_cases import digits_image, digits_model, golden_config

FRAME = (64, 96)


def dense(attention: MSDeformAttn, inputs: tuple[Tensor, ...]) -> Tensor:
    """[Q, N]: what each query takes of each token, by `grid_sample` of one-hot tokens."""
    query, references, tokens, shapes, _, padding = inputs
    heads, levels, points = attention.n_heads, attention.n_levels, attention.n_points
    offsets = attention.sampling_offsets(query).unflatten(-1, (heads, levels, points, 2))
    weights = attention.attention_weights(query).unflatten(-1, (heads, -1)).softmax(-1)
    count = tokens.shape[1]
    one_hot = torch.eye(count, dtype=query.dtype)
    if padding is not None:
        one_hot = one_hot.masked_fill(padding[0][:, None], 0.0)
    value = one_hot[None, :, None].expand(1, count, heads, count)
    places = sampling_locations(references, offsets, shapes)
    taken = sample_values(value, shapes, places, weights)  # [1, Q, M·N]
    return taken.unflatten(-1, (heads, count)).mean(2)[0]


class Forward:
    """Rollout as its definition reads, from the input on: what each row holds of each token."""

    def __init__(self, network: MaskDINO, image: Tensor, mask: Tensor | None) -> None:
        self.network, self.layers = network, {}
        encoder = network.sem_seg_head.pixel_decoder.transformer.encoder
        predictor = network.sem_seg_head.predictor
        watched = [layer.self_attn for layer in encoder.layers]
        for layer in predictor.decoder.layers:
            watched += [layer.self_attn, layer.cross_attn]
        handles = [m.register_forward_pre_hook(self._note) for m in watched]
        with torch.no_grad():
            pixels = network.sem_seg_head.pixel_decoder(
                network.backbone(network._pixels(image, mask)), mask
            )
            memory = predictor.memory(pixels)
            start = predictor.start(memory, pixels)
            predictor.decoder(start.queries, start.boxes.sigmoid(), memory)
            for handle in handles:
                handle.remove()
            self.queries = self._roll(encoder, predictor, memory, pixels)

    def _note(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.layers[module] = inputs

    def _roll(
        self, encoder: nn.Module, predictor: nn.Module, memory: object, pixels: object
    ) -> Tensor:
        tokens = None
        for layer in encoder.layers:
            seen = dense(layer.self_attn, self.layers[layer.self_attn])
            self.shapes = self.layers[layer.self_attn][3]
            tokens = torch.eye(len(seen), dtype=seen.dtype) if tokens is None else tokens
            tokens = 0.5 * (seen @ tokens + tokens)
        parts = tokens.split([h * w for h, w in self.shapes])
        tokens = torch.cat(parts[::-1])  # rows in the memory's order of levels
        rows = tokens.new_zeros(self.network.spec.queries, tokens.shape[1])
        if self.network.spec.two_stage:
            rows = tokens[predictor._select(memory, pixels)[1][0]]
        for layer in predictor.decoder.layers:
            q, k, v = self.layers[layer.self_attn][:3]
            among = layer.self_attn(q, k, v, need_weights=True)[1][0]
            rows = 0.5 * (among @ rows + rows)
            rows = 0.5 * (dense(layer.cross_attn, self.layers[layer.cross_attn]) @ tokens + rows)
        return rows


def picture(
    image: Tensor, network: MaskDINO, queries: list[int], valid: tuple[int, int]
) -> Picture:
    with torch.no_grad():
        outputs = {name: value[0] for name, value in network(image).items()}
    frame = (image.shape[2], image.shape[3])
    loaded = LoadedImage(Path("a.png"), image[0], valid, valid)
    subjects = []
    for query in queries:
        seen = describe({k: v.float() for k, v in outputs.items()}, frame, valid, query, 1)
        truth = Framed(str(query), 1, torch.ones(valid, dtype=torch.bool), (0.0, 0.0, 1.0, 1.0))
        subjects.append(Subject(truth, seen))
    return Picture(loaded, tuple(subjects))


def check(
    network: MaskDINO, images: list[Tensor], queries: list[int], valid: tuple[int, int]
) -> None:
    pictures = [picture(image, network, queries, valid) for image in images]
    maps = Rollout(network, 2, valid != pictures[0].image.frame).maps(pictures)
    for image, found in zip(images, maps, strict=True):
        frame = (image.shape[2], image.shape[3])
        mask = torch.ones(1, *frame, dtype=torch.bool)
        mask[0, : valid[0], : valid[1]] = False
        expected = Forward(network, image, mask if valid != frame else None)
        rows = to_pixels(expected.queries[queries], expected.shapes, frame)
        for one, row in zip(found, rows, strict=True):
            assert one.shape == frame
            assert float(row.max() / row.mean()) > 2  # not flat
            assert torch.allclose(one, row, rtol=1e-9, atol=1e-15)


def test_rollout_of_the_trained_digits_model() -> None:
    network = digits_model(torch.float64)
    images = [digits_image(name)[:, :, :96, :96].double() for name in ("02", "05")]
    check(network, images, [0, 1, 17], (96, 96))


@pytest.mark.parametrize("case", ["3s_dowsample1_2048", "ade20k_semantic"])
def test_rollout_with_more_levels_padding_and_learned_queries(case: str) -> None:
    config = golden_config(case)
    config.MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS = 2
    config.MODEL.MaskDINO.DEC_LAYERS = 2
    config.MODEL.MaskDINO.NUM_OBJECT_QUERIES = 20
    network = build_maskdino(config).double()
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, *FRAME, generator=generator, dtype=torch.float64) * 255
    check(network, [image], [0, 5], (48, 96))


def test_cross_attention_is_the_mean_over_layers() -> None:
    network = digits_model(torch.float64)
    image = digits_image("02")[:, :, :96, :96].double()
    queries = [0, 1, 17]
    (found,) = CrossAttention(network, 2).maps([picture(image, network, queries, (96, 96))])
    expected = Forward(network, image, None)
    layers = network.sem_seg_head.predictor.decoder.layers
    seen = [dense(one.cross_attn, expected.layers[one.cross_attn])[queries] for one in layers]
    levels = (sum(seen) / len(seen)).split([h * w for h, w in expected.shapes[::-1]], 1)
    rows = to_pixels(torch.cat(levels[::-1], 1), expected.shapes, (96, 96))
    for one, row in zip(found, rows, strict=True):
        assert 0.5 < float(one.sum()) <= 1 + 1e-9
        assert torch.allclose(one, row, rtol=1e-9, atol=1e-15)


def test_tokens_spread_evenly_over_their_cells() -> None:
    mass = torch.tensor([[1.0, 2.0, 8.0]])
    spread = to_pixels(mass, ((1, 2), (1, 1)), (2, 4))
    assert spread.tolist() == [[[1.25, 1.25, 1.5, 1.5]] * 2]
    uneven = to_pixels(torch.tensor([[3.0, 2.0]]), ((1, 2),), (1, 5))
    assert float(uneven.sum()) == 5.0
