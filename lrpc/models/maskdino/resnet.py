"""The bottleneck ResNet (He et al. 2016) that feeds the pixel decoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.models.maskdino.backbone_specs import BLOCKS_PER_STAGE, ResNetSpec
from lrpc.models.maskdino.keys import STAGES
from lrpc.models.maskdino.layers import FrozenBatchNorm2d, NormedConv2d


class Stem(nn.Module):
    """7×7 convolution with stride 2, then 3×3 max pooling with stride 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = NormedConv2d(3, width, 7, FrozenBatchNorm2d(width), stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] → [B, C, H/4, W/4]."""
        return F.max_pool2d(F.relu(self.conv1(x)), kernel_size=3, stride=2, padding=1)


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions beside a shortcut, which is projected where the width changes."""

    def __init__(
        self,
        before: int,
        after: int,
        stride: int,
        dilation: int,
        inner: int,
        groups: int,
        stride_in_1x1: bool,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.shortcut: nn.Module | None = None
        if before != after:
            self.shortcut = NormedConv2d(before, after, 1, FrozenBatchNorm2d(after), stride=stride)
        self.conv1 = NormedConv2d(before, inner, 1, FrozenBatchNorm2d(inner), stride=first)
        self.conv2 = NormedConv2d(
            inner,
            inner,
            3,
            FrozenBatchNorm2d(inner),
            stride=second,
            dilation=dilation,
            groups=groups,
        )
        self.conv3 = NormedConv2d(inner, after, 1, FrozenBatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H/stride, W/stride]."""
        y = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        skip = x if self.shortcut is None else self.shortcut(x)
        return F.relu(skip + y)


class ResNet(nn.Module):
    """Stem and four stages; every stage's output is a feature map."""

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.stem = Stem(spec.stem_width)
        width = spec.stem_width
        for index, stage in enumerate(STAGES):
            blocks = nn.Sequential(*_stage(spec, index, width))
            self.add_module(stage, blocks)
            width = spec.channels(stage)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] → `res2` … `res5`, each [B, C, H/stride, W/stride]."""
        x = self.stem(x)
        features = {}
        for stage in STAGES:
            x = self.get_submodule(stage)(x)
            features[stage] = x
        return features


def _stage(spec: ResNetSpec, index: int, before: int) -> Iterator[Bottleneck]:
    """The blocks of one stage; only the first may change stride and width."""
    stage = STAGES[index]
    after = spec.channels(stage)
    dilation = spec.dilation if stage == "res5" else 1
    stride = 1 if index == 0 else spec.stride(stage) // spec.stride(STAGES[index - 1])
    for block in range(BLOCKS_PER_STAGE[spec.depth][index]):
        yield Bottleneck(
            before if block == 0 else after,
            after,
            stride if block == 0 else 1,
            dilation,
            spec.bottleneck_width * 2**index,
            spec.groups,
            spec.stride_in_1x1,
        )
