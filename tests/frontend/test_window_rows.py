"""Pooling, resizing, windows and maps of three axes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch.nn.functional as F
from torch import nn

from tests.support.held import Apply, hold

V = (2, 5, 6, 7)
MAPS: dict[str, tuple[Callable[[], Apply], tuple[int, ...]]] = {
    "bilinear": (lambda: Apply(lambda m, x: m.l(x, x.sin()), l=nn.Bilinear(6, 6, 3)), (4, 6)),
    "lrn": (lambda: Apply(lambda m, x: F.local_response_norm(x, 3)), (4, 5, 5)),
    "lrn even": (
        lambda: Apply(lambda m, x: F.local_response_norm(x, 4, alpha=0.1, beta=0.5, k=2.0)),
        (6, 5, 5),
    ),
    "lp_pool2d": (lambda: Apply(lambda m, x: F.lp_pool2d(x, 2, 2)), (3, 6, 6)),
    "lp_pool1d": (lambda: Apply(lambda m, x: F.lp_pool1d(x, 2.0, 3, stride=2)), (3, 8)),
    "nearest-exact": (
        lambda: Apply(lambda m, x: F.interpolate(x, size=(7, 4), mode="nearest-exact")),
        (3, 5, 6),
    ),
    "nearest-exact sf": (
        lambda: Apply(lambda m, x: F.interpolate(x, scale_factor=2, mode="nearest-exact")),
        (3, 5, 6),
    ),
    "nearest-exact 1d": (
        lambda: Apply(lambda m, x: F.interpolate(x, size=4, mode="nearest-exact")),
        (3, 5),
    ),
    "area": (lambda: Apply(lambda m, x: F.interpolate(x, size=(3, 4), mode="area")), (3, 5, 6)),
    "antialias": (
        lambda: Apply(lambda m, x: F.interpolate(x, size=(3, 4), mode="bilinear", antialias=True)),
        (3, 7, 6),
    ),
    "antialias bicubic": (
        lambda: Apply(
            lambda m, x: F.interpolate(
                x, size=(3, 9), mode="bicubic", antialias=True, align_corners=False
            )
        ),
        (3, 7, 6),
    ),
    "trilinear": (
        lambda: Apply(lambda m, x: F.interpolate(x, size=(3, 4, 5), mode="trilinear")),
        (2, 4, 4, 4),
    ),
    "nearest 3d": (lambda: Apply(lambda m, x: F.interpolate(x, scale_factor=2)), (2, 3, 4, 4)),
    "adaptive max": (lambda: Apply(lambda m, x: F.adaptive_max_pool2d(x, (3, 4))), (3, 7, 6)),
    "adaptive max 1d": (lambda: Apply(lambda m, x: F.adaptive_max_pool1d(x, 3)), (3, 7)),
    "EmbeddingBag": (
        lambda: Apply(
            lambda m, x: m.e((x > 0).long()[:, 0]) * x[:, 0, :4], e=nn.EmbeddingBag(2, 4)
        ),
        (4, 6),
    ),
    "EmbeddingBag sum": (
        lambda: Apply(
            lambda m, x: m.e((x > 0).long()[:, 0], per_sample_weights=x[:, 0]),
            e=nn.EmbeddingBag(2, 4, mode="sum"),
        ),
        (4, 6),
    ),
    "EmbeddingBag max": (
        lambda: Apply(
            lambda m, x: m.e((x > 0).long()[:, 0]) * x[:, 0, :4],
            e=nn.EmbeddingBag(2, 4, mode="max"),
        ),
        (4, 6),
    ),
    "conv3d": (lambda: Apply(lambda m, x: m.c(x).relu(), c=nn.Conv3d(2, 3, 2)), V),
    "conv3d all": (
        lambda: Apply(
            lambda m, x: m.c(x).relu(),
            c=nn.Conv3d(2, 4, 3, stride=(2, 1, 2), padding=(1, 0, 2), dilation=(1, 2, 1), groups=2),
        ),
        V,
    ),
    "conv3d same": (
        lambda: Apply(lambda m, x: m.c(x).relu(), c=nn.Conv3d(2, 4, 3, padding="same")),
        V,
    ),
    "conv3d same even": (
        lambda: Apply(lambda m, x: m.c(x).relu(), c=nn.Conv3d(2, 4, 2, padding="same")),
        V,
    ),
    "tubelets": (
        lambda: Apply(
            lambda m, x: m.c(x).flatten(2).transpose(1, 2),
            c=nn.Conv3d(2, 4, (2, 3, 3), stride=(2, 3, 3), bias=False),
        ),
        (2, 4, 6, 6),
    ),
    "max_pool3d": (lambda: Apply(lambda m, x: F.max_pool3d(x, 2)), V),
    "max_pool3d p": (lambda: Apply(lambda m, x: F.max_pool3d(x, 3, 2, 1)), V),
    "max_pool3d ceil": (lambda: Apply(lambda m, x: F.max_pool3d(x, 2, 2, ceil_mode=True)), V),
    "max_pool3d dil": (lambda: Apply(lambda m, x: F.max_pool3d(x, 2, 1, dilation=2)), V),
    "avg_pool3d": (lambda: Apply(lambda m, x: F.avg_pool3d(x, 2)), V),
    "avg_pool3d p": (lambda: Apply(lambda m, x: F.avg_pool3d(x, 3, 2, 1)), V),
    "avg_pool3d pc": (
        lambda: Apply(lambda m, x: F.avg_pool3d(x, 3, 2, 1, count_include_pad=False)),
        V,
    ),
    "avg_pool3d ceil": (lambda: Apply(lambda m, x: F.avg_pool3d(x, 2, 2, ceil_mode=True)), V),
    "avg_pool3d ceil p": (lambda: Apply(lambda m, x: F.avg_pool3d(x, 3, 2, 1, ceil_mode=True)), V),
    "avg_pool3d div": (lambda: Apply(lambda m, x: F.avg_pool3d(x, 2, divisor_override=3)), V),
    "adaptive avg3d": (lambda: Apply(lambda m, x: F.adaptive_avg_pool3d(x, (2, 3, 4))), V),
    "adaptive avg3d 1": (lambda: Apply(lambda m, x: F.adaptive_avg_pool3d(x, 1)), V),
    "adaptive max3d": (lambda: Apply(lambda m, x: F.adaptive_max_pool3d(x, (2, 3, 4))), V),
    "unfold": (lambda: Apply(lambda m, x: F.unfold(x, 2)), (3, 5, 6)),
    "unfold all": (
        lambda: Apply(
            lambda m, x: F.unfold(x, (3, 2), dilation=(1, 2), padding=(1, 2), stride=(2, 1))
        ),
        (3, 5, 6),
    ),
    "fold": (
        lambda: Apply(
            lambda m, x: F.fold(
                F.unfold(x, 3, padding=1, stride=2) * 2, (5, 6), 3, padding=1, stride=2
            )
        ),
        (3, 5, 6),
    ),
    "fold dil": (
        lambda: Apply(lambda m, x: F.fold(F.unfold(x, 2, 2, 1, 1).sin(), (5, 6), 2, 2, 1, 1)),
        (3, 5, 6),
    ),
    "x.unfold": (lambda: Apply(lambda m, x: x.unfold(1, 2, 2).mean(-1)), (4, 6)),
    "x.unfold overlap": (lambda: Apply(lambda m, x: x.unfold(2, 3, 1).sin()), (4, 6)),
    "batchnorm3d": (
        lambda: Apply(
            lambda m, x: m.c(x).relu(), c=nn.Sequential(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3))
        ),
        V,
    ),
    "instnorm3d": (
        lambda: Apply(lambda m, x: m.c(x).relu(), c=nn.InstanceNorm3d(2, affine=True)),
        V,
    ),
    "groupnorm3d": (lambda: Apply(lambda m, x: m.c(x).relu(), c=nn.GroupNorm(2, 2)), V),
    "dropout3d": (lambda: Apply(lambda m, x: F.dropout3d(x, training=False) * 2), V),
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", MAPS)
def test_maps(name: str) -> None:
    model, shape = MAPS[name]
    hold(model(), shape)
