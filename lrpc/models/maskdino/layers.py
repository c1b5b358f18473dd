"""Building blocks: frozen batch norm, convolution with its norm, MLP, deformable attention."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shapes = tuple[tuple[int, int], ...]
"""Height and width of every feature level, in token order."""


class FrozenBatchNorm2d(nn.Module):
    """Batch norm with stored statistics and affine values, all of them buffers."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises `x` [B, C, H, W] channel by channel."""
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


class NormedConv2d(nn.Conv2d):
    """A convolution that owns the norm after it: parameters `X.weight` and `X.norm.*`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        norm: nn.Module | None,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=norm is None,
        )
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H', W']."""
        y = F.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )
        return y if self.norm is None else self.norm(y)


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """[..., widths[0]] → [..., widths[-1]]."""
        for index, layer in enumerate(self.layers):
            x = layer(x) if index == 0 else layer(F.relu(x))
        return x


class MSDeformAttn(nn.Module):
    """Multi-scale deformable attention (Zhu et al. 2021, 2010.04159, eq. 3)."""

    def __init__(self, d_model: int, n_levels: int, n_heads: int, n_points: int) -> None:
        super().__init__()
        self.d_model, self.n_levels = d_model, n_levels
        self.n_heads, self.n_points = n_heads, n_points
        self.sampling_offsets = nn.Linear(d_model, n_heads * n_levels * n_points * 2)
        self.attention_weights = nn.Linear(d_model, n_heads * n_levels * n_points)
        self.value_proj = nn.Linear(d_model, d_model)
        self.output_proj = nn.Linear(d_model, d_model)

    def forward(
        self,
        query: Tensor,
        reference_points: Tensor,
        input_flatten: Tensor,
        input_spatial_shapes: Shapes,
        input_level_start_index: Tensor | None = None,
        input_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Attends from `query` [B, Q, C] to the tokens `input_flatten` [B, N, C].

        `reference_points` is [B or 1, Q, L, 2] (x, y) or [B or 1, Q, L, 4] (cx, cy, w, h), relative
        to the map; `input_padding_mask` [B, N] is True at tokens whose value counts as zero.
        `input_level_start_index` follows from the shapes and is ignored. Returns [B, Q, C].
        """
        value = self.value_proj(input_flatten)
        if input_padding_mask is not None:
            value = value.masked_fill(input_padding_mask.unsqueeze(-1), 0.0)
        value = value.unflatten(-1, (self.n_heads, -1))  # [B, N, M, D]
        split = (self.n_heads, self.n_levels, self.n_points, 2)
        offsets = self.sampling_offsets(query).unflatten(-1, split)  # [B, Q, M, L, P, 2]
        weights = self.attention_weights(query).unflatten(-1, (self.n_heads, -1)).softmax(-1)
        locations = sampling_locations(reference_points, offsets, input_spatial_shapes)
        sampled = sample_values(value, input_spatial_shapes, locations, weights)
        output: Tensor = self.output_proj(sampled)
        return output


def sampling_locations(references: Tensor, offsets: Tensor, shapes: Shapes) -> Tensor:
    """Where each head looks, relative to the map: [B, Q, M, L, P, 2].

    `references` is [B, Q, L, 2 or 4], `offsets` [B, Q, M, L, P, 2].
    """
    references = references[:, :, None, :, None, :]  # [B, Q, 1, L, 1, 2|4]
    if references.shape[-1] == 2:
        sizes = offsets.new_tensor([(width, height) for height, width in shapes])
        return references + offsets / sizes[:, None, :]
    points = offsets.shape[-2]
    return references[..., :2] + offsets / points * references[..., 2:] * 0.5


def sample_values(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples, zeros outside the maps.

    `value` [B, N, M, D], `locations` [B, Q, M, L, P, 2], `weights` [B, Q, M, L·P] → [B, Q, M·D].
    """
    batch, _, heads, width = value.shape
    maps = value.permute(0, 2, 3, 1).flatten(0, 1)  # [B·M, D, N]
    grids = 2.0 * locations.permute(0, 2, 3, 4, 1, 5).flatten(0, 1) - 1.0  # [B·M, L, P, Q, 2]
    shares = weights.reshape(locations.shape[:-1]).permute(0, 2, 3, 4, 1).flatten(0, 1)
    sums = []
    start = 0
    for level, shape in enumerate(shapes):
        end = start + shape[0] * shape[1]
        samples = F.grid_sample(
            maps[:, :, start:end].reshape(*maps.shape[:2], *shape),
            grids[:, level],
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )  # [B·M, D, P, Q]
        start = end
        sums.append((samples * shares[:, None, level]).sum(2))
    total = sum(sums[1:], sums[0]).reshape(batch, heads, width, -1)
    return total.permute(0, 3, 1, 2).flatten(2)
