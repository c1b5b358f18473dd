"""The Swin transformer (Liu et al. 2021, 2103.14030) as a backbone, with released parameter names.

Tokens are [B, N, C], row by row of a map of h × w cells. Attention stays inside windows of M × M
cells; every second block has its windows shifted by half of one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.models.maskdino.backbone_specs import SwinSpec
from lrpc.models.maskdino.keys import STAGES

_APART = -100.0  # added to scores between cells that only the shift brought together


class PatchEmbed(nn.Module):
    """A convolution with a stride as long as its kernel, and a norm."""

    def __init__(self, spec: SwinSpec) -> None:
        super().__init__()
        self.patch = spec.patch
        self.proj = nn.Conv2d(3, spec.width, spec.patch, stride=spec.patch)
        self.norm = nn.LayerNorm(spec.width) if spec.patch_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] → [B, C, H/4, W/4], padded at the end to whole patches."""
        x = self.proj(_padded(x, self.patch, x.shape[-2], x.shape[-1]))
        if self.norm is None:
            return x
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        return _as_map(tokens, x.shape[-2], x.shape[-1])


class WindowAttention(nn.Module):
    """Attention among the cells of a window, with a learned bias for each offset between two."""

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int, spec: SwinSpec) -> None:
        super().__init__()
        side = 2 * spec.window - 1  # offsets along an axis, negative ones first
        self.heads = heads
        self.scale = spec.scale or (width // heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.zeros(side * side, heads))
        cells = torch.arange(spec.window)
        apart = cells[:, None] - cells + spec.window - 1  # [M, M]
        index = apart[:, None, :, None] * side + apart[None, :, None, :]
        self.register_buffer("relative_position_index", index.flatten(2).flatten(0, 1))
        self.qkv = nn.Linear(width, 3 * width, bias=spec.qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Windows [B·n, M², C], n to an image → [B·n, M², C]; mask [n, M², M²]."""
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0], parts[1], parts[2]  # [B·n, heads, M², d]
        table = self.relative_position_bias_table[self.relative_position_index]  # [M², M², heads]
        scores = (query * self.scale) @ key.transpose(-2, -1) + table.permute(2, 0, 1)
        if mask is not None:
            of_image = scores.reshape(-1, mask.shape[0], *scores.shape[1:])
            scores = (of_image + mask.unsqueeze(1)).flatten(0, 1)
        mixed = scores.softmax(-1) @ value
        output: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return output


class Mlp(nn.Module):
    """Two linear maps with a GELU between them."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] → [..., C]."""
        output: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return output


class Block(nn.Module):
    """Norm, attention in windows, add; norm, MLP, add."""

    def __init__(self, width: int, heads: int, shift: int, spec: SwinSpec) -> None:
        super().__init__()
        self.window, self.shift = spec.window, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, spec)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, int(width * spec.mlp_ratio))

    def forward(self, x: Tensor, height: int, width: int, mask: Tensor) -> Tensor:
        """Tokens [B, h·w, C] → [B, h·w, C]; `mask` is that of shifted windows."""
        cells = _as_map(self.norm1(x), height, width)
        cells = _padded(cells, self.window, height, width).permute(0, 2, 3, 1)
        padded = (cells.shape[1], cells.shape[2])
        if self.shift:
            cells = torch.roll(cells, (-self.shift, -self.shift), (1, 2))
        attended = self.attn(windows(cells, self.window), mask if self.shift else None)
        cells = _joined(attended, self.window, padded)
        if self.shift:
            cells = torch.roll(cells, (self.shift, self.shift), (1, 2))
        x = x + cells[:, :height, :width].flatten(1, 2)
        output: Tensor = x + self.mlp(self.norm2(x))
        return output


class PatchMerging(nn.Module):
    """Each 2 × 2 cells become one of twice the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Tokens [B, h·w, C] → [B, ⌈h/2⌉·⌈w/2⌉, 2C], padded at the end to an even map."""
        cells = _padded(_as_map(x, height, width), 2, height, width).permute(0, 2, 3, 1)
        corners = [cells[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        output: Tensor = self.reduction(self.norm(torch.cat(corners, -1).flatten(1, 2)))
        return output


class Stage(nn.Module):
    """The blocks at one resolution, and the merging that leads to the next."""

    def __init__(self, index: int, spec: SwinSpec) -> None:
        super().__init__()
        self.window, self.shift = spec.window, spec.window // 2
        width, heads = spec.channels(STAGES[index]), spec.heads[index]
        self.blocks = nn.ModuleList(
            Block(width, heads, self.shift if number % 2 else 0, spec)
            for number in range(spec.depths[index])
        )
        self.downsample = PatchMerging(width) if index + 1 < len(STAGES) else None

    def forward(self, x: Tensor, height: int, width: int) -> tuple[Tensor, Tensor | None]:
        """Tokens [B, h·w, C] → [B, h·w, C], and what the next stage starts from."""
        mask = shift_mask(height, width, self.window, self.shift, x)
        for block in self.blocks:
            x = block(x, height, width, mask)
        return x, None if self.downsample is None else self.downsample(x, height, width)


class SwinTransformer(nn.Module):
    """Four stages; the normed tokens of each are a feature map."""

    def __init__(self, spec: SwinSpec) -> None:
        super().__init__()
        self.spec = spec
        self.patch_embed = PatchEmbed(spec)
        if (side := spec.position_cells) is not None:
            self.absolute_pos_embed = nn.Parameter(torch.zeros(1, spec.width, side, side))
        self.layers = nn.ModuleList(Stage(index, spec) for index in range(len(STAGES)))
        for index, stage in enumerate(STAGES):
            self.add_module(f"norm{index}", nn.LayerNorm(spec.channels(stage)))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] → the maps of `out_features`, each [B, C, H/stride, W/stride]."""
        x = self.patch_embed(x)
        height, width = x.shape[-2], x.shape[-1]
        if self.spec.position_cells is not None:
            x = x + F.interpolate(self.absolute_pos_embed, size=(height, width), mode="bicubic")
        x = x.flatten(2).transpose(1, 2)
        features = {}
        for index, (stage, layer) in enumerate(zip(STAGES, self.layers, strict=True)):
            x, below = layer(x, height, width)
            features[stage] = _as_map(self.get_submodule(f"norm{index}")(x), height, width)
            x, height, width = below, (height + 1) // 2, (width + 1) // 2
        return {stage: features[stage] for stage in self.spec.out_features}


def _as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """[B, h·w, C] → [B, C, h, w]."""
    return tokens.transpose(1, 2).reshape(-1, tokens.shape[2], height, width)


def _padded(x: Tensor, step: int, height: int, width: int) -> Tensor:
    """Maps [B, C, h, w] with zeros at the end, up to multiples of `step`."""
    return F.pad(x, (0, -width % step, 0, -height % step))


def windows(cells: Tensor, side: int) -> Tensor:
    """Maps [B, h, w, C] as windows [B·n, side², C], row by row."""
    rows, columns = cells.shape[1] // side, cells.shape[2] // side
    parts = cells.reshape(-1, rows, side, columns, side, cells.shape[3])
    return parts.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def _joined(parts: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Windows [B·n, side², C] as the maps [B, h, w, C] that they are from."""
    rows, columns = size[0] // side, size[1] // side
    cells = parts.reshape(-1, rows, columns, side, side, parts.shape[2])
    return cells.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def shift_mask(height: int, width: int, side: int, shift: int, like: Tensor) -> Tensor:
    """What is added to the scores of shifted windows: [n, side², side²].

    The shift brings the first rows and columns into the last windows; cells there that were no
    neighbours do not attend to each other.
    """
    regions = [_regions(length + -length % side, side, shift, like) for length in (height, width)]
    places = windows((regions[0][:, None] * 3 + regions[1])[None, :, :, None], side)[..., 0]
    apart = places[:, None, :] != places[:, :, None]
    return torch.zeros_like(apart, dtype=like.dtype).masked_fill(apart, _APART)


def _regions(length: int, side: int, shift: int, like: Tensor) -> Tensor:
    """Along one axis: 0 before the last window, in it 1, and 2 what came from the start."""
    places = torch.arange(length, device=like.device)
    return (places >= length - side).long() + (places >= length - shift).long()
