"""One program for every size of the models that people have: each equals the programs of its size,
or is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lrpc
from lrpc.errors import LrpcError
from tests.support import sized_models as models
from tests.support import transformers_models as released

EXAMPLE, SIZES = (64, 96), ((32, 32), (160, 64))  # smaller, and turned
LENGTHS = (1, 12, 20)

IMAGES: dict[str, Callable[[], nn.Module]] = {
    "pyramid heads": models.Retina, "DeepLab": models.DeepLab, "U-Net": models.UNet,
    "ConvNeXt": models.ConvNeXt, "SegFormer": models.SegFormer, "windows": models.Swin,
    "DETR": models.Detr, "deformable DETR": models.DeformableDetr,
    "ViT": models.Vit, "ViT, bilinear": lambda: models.Vit("bilinear"),
    "arithmetic": models.Numbers,
}  # fmt: skip
MASKS = ("tril", "triu", "buffer", "arange", "sdpa")


def image(height: int, width: int, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.randn(count, 3, height, width, generator=generator, dtype=torch.float64)


def tokens(length: int, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randint(0, 11, (count, length), generator=generator)


def of_images(model: nn.Module, step: int = 32, example: tuple[int, int] = EXAMPLE) -> Any:
    dynamic = {"x": {2: ("H", step), 3: ("W", step)}}
    return lrpc.compile(model, (image(*example),), dynamic=dynamic, composite="epsilon_plus")


def hold(p: Any, model: nn.Module, x: Tensor) -> None:
    """Outputs are the model's, relevance and ledger those of the program of this size."""
    fixed = lrpc.compile(model, (x[:1],), composite="epsilon_plus", check=False)
    state, other = p.forward(x), fixed.forward(x)
    with torch.no_grad():
        wanted = model(x)
    for name, value in wanted.items():
        assert torch.allclose(state.outputs[name], value, rtol=1e-12, atol=1e-12)
        at = [tuple(n // 2 for n in value.shape[1:])]
        got = p.relevance(state, name, at=at, ledger=True)
        same = fixed.relevance(other, name, at=at).input
        assert float(same.abs().max()) > 0
        assert float((got.input - same).abs().max()) < 1e-11 * float(same.abs().max())
        assert float(got.ledger.closure.max()) < 1e-11


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_any_size(name: str) -> None:
    torch.manual_seed(0)
    model = IMAGES[name]().double().eval()
    p = of_images(model)
    for size in SIZES:
        hold(p, model, image(*size, count=2))


def test_windows_of_which_there_are_floors_over_long_periods() -> None:
    """Of a whole backbone: test_maskdino_swin.py."""
    torch.manual_seed(0)
    model = models.Swin(7).double().eval()
    p = of_images(model)
    for size in ((32, 32), (96, 64), (32, 480), (480, 64)):  # and beyond a period
        hold(p, model, image(*size, count=2))


@pytest.mark.parametrize("levels", [1, 2])
def test_levels_by_strides_of_more_than_a_step(levels: int) -> None:
    torch.manual_seed(0)
    model = models.Levels(levels).double().eval()
    p = of_images(model)
    for size in ((32, 160), (96, 128), (288, 224)):
        hold(p, model, image(*size, count=2))


@pytest.mark.parametrize("mask", MASKS)
def test_sequences_of_any_length(mask: str) -> None:
    torch.manual_seed(0)
    model = models.Sequence(mask).double().eval()
    dynamic = {"ids": {1: ("T", 1)}}
    p = lrpc.compile(model, (tokens(7),), dynamic=dynamic, composite="epsilon_plus")
    for length in LENGTHS:
        hold(p, model, tokens(length, count=2))


class Named(nn.Module):
    """A model of transformers that returns tensors by name."""

    def __init__(self, model: nn.Module, call: Callable[..., dict[str, Tensor]]) -> None:
        super().__init__()
        self.model, self.call = released.disturbed(model), call

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.call(self.model, x)


def detr() -> nn.Module:
    backbone = released.hugging_face().ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    model = released.made(
        "DetrForObjectDetection", "DetrConfig", "eager", use_timm_backbone=False,
        use_pretrained_backbone=False, backbone_config=backbone, backbone=None, d_model=16,
        encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=4, num_labels=3,
    )  # fmt: skip

    def call(model: Any, x: Tensor) -> dict[str, Tensor]:
        found = model(pixel_values=x)
        return {"classes": found.logits, "boxes": found.pred_boxes}

    return Named(model, call)


def dinov2() -> nn.Module:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = released.made("Dinov2Model", "Dinov2Config", image_size=56, patch_size=8, **sizes)
    return Named(model, lambda model, x: {"tokens": model(pixel_values=x)[0]})


@pytest.mark.parametrize("make", [detr, dinov2])
def test_released_models_of_any_size(make: Callable[[], nn.Module]) -> None:
    model = make()
    p = of_images(model)
    for size in SIZES:
        hold(p, model, image(*size, count=2))


def test_released_language_models_of_any_length() -> None:
    sizes = {"vocab_size": 20, "n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2}
    made = released.made(
        "GPT2LMHeadModel", "GPT2Config", bos_token_id=0, eos_token_id=0, pad_token_id=0, **sizes
    )
    model = Named(made, lambda m, x: {"logits": m(input_ids=x, use_cache=False)[0]})
    dynamic = {"x": {1: ("T", 1)}}
    p = lrpc.compile(model, (tokens(7),), dynamic=dynamic, composite="epsilon_plus")
    for length in (2, 12):
        hold(p, model, tokens(length, count=2))


class Small(nn.Module):
    """A map of a quarter of the image, and what a function makes of it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.function = nn.Conv2d(3, 4, 4, 4), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.stem(x))


HALVES: dict[str, Callable[[Tensor], Tensor]] = {
    "half of the rows": lambda y: y[:, :, : y.shape[2] // 2].mean((2, 3)),
    "the middle": lambda y: y[:, :, y.shape[2] // 2, y.shape[3] // 2],
    "pairs": lambda y: y[:, :, : y.shape[2] // 2 * 2].unflatten(2, (-1, 2)).amax(3).mean((2, 3)),
    "made even": lambda y: F.pad(y, (0, y.shape[3] % 2, 0, y.shape[2] % 2)).sum((2, 3)),
    "cut to size": lambda y: (
        F.max_pool2d(y, 2, ceil_mode=True).repeat(1, 1, 2, 2)[:, :, : y.shape[2], : y.shape[3]] * y
    ).mean((2, 3)),
    "back to size": lambda y: (F.interpolate(F.avg_pool2d(y, 2), y.shape[2:]) * y).mean((2, 3)),
}


@pytest.mark.parametrize("name", HALVES)
def test_halves_of_odd_sizes(name: str) -> None:
    torch.manual_seed(0)
    small = Small(HALVES[name]).double().eval()
    model = Named(small, lambda m, x: {"classes": m(x)})
    p = of_images(model, 4, (20, 24))
    for size in ((12, 28), (8, 20), (52, 44)):
        hold(p, model, image(*size, count=2))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a root": (
        lambda: Small(lambda y: y.mean((2, 3)) * y.shape[2] ** 0.5),
        "mul takes a number that depends on the sizes, 4 at one and 4.89898 at another, and is no "
        "fraction of them, at tests/program/test_any_size_models.py",
    ),
    "uneven cells": (
        lambda: Small(lambda y: F.adaptive_avg_pool2d(y, 3).flatten(1)),
        "adaptive_avg_pool2d does not come out alike at all sizes (H/4 is not divided evenly by 3",
    ),
    "a branch for small images": (
        lambda: Small(lambda y: y.mean((2, 3)) * (2 if y.shape[2] <= 8 else 1)),
        "differ on one image of H = 32, W = 32: output 'output' differs by 0.5 of its largest "
        "entry; larger steps than H of 32, W of 32 may do",
    ),
    "the shorter side": (
        lambda: Small(lambda y: y[:, :, : min(y.shape[2:])].mean((2, 3))),
        "differ on one image of H = 96, W = 64: output 'output' differs by",
    ),
    "positions by factors that round": (
        lambda: models.Vit("scale"),
        "interpolate has a scale factor that does not give a whole number of pixels, at "
        "tests/support/sized_models.py",
    ),
    "a loop over rows": (
        lambda: Small(lambda y: torch.stack([*y.mean(3).unbind(2)]).sum(0)),
        "the model is not the same for all sizes (H in steps of 32, W in steps of 32)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_follow_sizes_is_refused_in_one_line(name: str) -> None:
    make, said = REFUSED[name]
    with pytest.raises(LrpcError) as caught:
        of_images(make().double().eval())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
