"""Small modules that between them meet every row of the lowering tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.models.maskdino import FrozenBatchNorm2d, MSDeformAttn, masks_to_boxes


class Apply(nn.Module):
    """A function as a module, with parameters `w` [4, 6], `b` [4] and buffer `scale` [6]."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.w = nn.Parameter(torch.linspace(-1, 1, 24).reshape(4, 6))
        self.b = nn.Parameter(torch.linspace(0, 1, 4))
        self.register_buffer("scale", torch.linspace(0.5, 2, 6))

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


class Apply2(Apply):
    """The same with two inputs."""

    def forward(self, x: Tensor, y: Tensor) -> Any:  # type: ignore[override]
        return self.function(self, x, y)


def set_slice(m: Apply, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:3] = x[:, :2] * 2
    y[..., 0] = 7.0
    return y * x


def write_through_view(m: Apply, x: Tensor) -> tuple[Tensor, Tensor]:
    y = x * 1.0
    rows = y.reshape(y.shape[0], -1)
    first = y[:, 0]
    y[:, 1:] *= 3.0
    rows += 1.0
    return y + rows.reshape(y.shape), first


def write_then_read(m: Apply, x: Tensor) -> tuple[Tensor, Tensor]:
    y = x + 1
    z = y
    turned = y.transpose(1, 2)
    y -= 0.5
    F.relu(y, inplace=True)
    return z, turned


def iterate(m: Apply, x: Tensor) -> Tensor:
    total = x[:, 0] * 0
    for i in range(len(x[0])):
        total = total + x[:, i] / (i + 1)
    assert x.dim() == 3
    assert x.is_floating_point()
    return total


def positions(m: Apply, x: Tensor) -> Tensor:
    mask = torch.zeros((x.shape[0], x.shape[1]), dtype=torch.bool)
    counts = (~mask).cumsum(1, dtype=x.dtype) / x.new_tensor(3.0)
    return x + counts[:, :, None] * m.scale + m.b.unsqueeze(0).repeat(x.shape[0], 1).unsqueeze(-1)


# name → function of (module, x [B, 4, 6]).
TENSOR: dict[str, Callable[[Apply, Tensor], Any]] = {
    "linear": lambda m, x: F.linear(x, m.w, m.b),
    "linear, no bias": lambda m, x: F.linear(x, m.w),
    "matmul with a weight": lambda m, x: x @ m.w.t(),
    "weight matmul x": lambda m, x: m.w @ x.transpose(1, 2),
    "layer_norm": lambda m, x: F.layer_norm(x, (6,), m.scale, m.scale + 1, 1e-6),
    "layer_norm over two axes": lambda m, x: F.layer_norm(x, (4, 6), m.w, None),
    "rms_norm": lambda m, x: [F.rms_norm(x, (6,), m.scale, 1e-3), F.rms_norm(x, (6,))],
    "softmax": lambda m, x: (x.softmax(1), torch.softmax(x, -1), F.softmax(x, dim=2)),
    "activations": lambda m, x: [
        F.gelu(x), F.gelu(x, approximate="tanh"), F.silu(x), F.leaky_relu(x, 0.2), x.sigmoid(),
        torch.tanh(x), F.relu6(x * 4), F.hardtanh(x, -0.5, 0.3), F.hardswish(x),
        F.hardsigmoid(x), torch.relu(x), x.relu_(),
    ],
    "more activations": lambda m, x: [
        F.elu(4 * x), F.elu(x, 0.3), F.celu(x, 0.7), F.selu(x), F.mish(3 * x), F.softplus(30 * x),
        F.softplus(x, beta=2.5), F.logsigmoid(x), F.prelu(x, m.b), F.prelu(x, m.b[:1]),
        F.rrelu(x, 0.1, 0.3), F.threshold(x, 0.2, -3.0), F.softshrink(x, 0.4), F.glu(x),
        F.hardtanh(x, 0.2, 0.7), F.hardtanh(x, -0.7, 0.0), F.hardtanh(x, -2.0, -0.1),
        x.clamp(min=0), torch.clamp(9 * x, 0, 6), F.hardswish(4 * x), F.hardsigmoid(4 * x),
    ],
    "unary": lambda m, x: [
        x.exp(), (x.abs() + 1).log(), x.abs().sqrt(), x.sin(), torch.cos(x), -x, x.square(),
        (x.abs() + 1).rsqrt(), (x.abs() + 1).reciprocal(), torch.neg(x),
    ],
    "scalars": lambda m, x: [
        x + 2, 2 + x, x - 2, 2 - x, x * 3, 3 * x, x / 4, 4 / (x.abs() + 1), x**2, 2**x,
        x.abs() ** 0.5,
        torch.add(x, x, alpha=2), torch.sub(x, 1.5, alpha=2), torch.rsub(x, 1), x.mul(2).div(3),
    ],
    "constants beside": lambda m, x: [
        x + torch.ones(6), x * torch.full((1, 1, 6), 2.0), x / m.scale, m.scale - x, x - m.w,
        x * torch.tensor(3.0), torch.zeros_like(x) + x, x * torch.ones(3, 1, 1, 1),
    ],
    "in place": lambda m, x: x.clone().add_(1).mul_(2).div_(3).sub_(1).clamp_(min=0).pow_(2),
    "clamp": lambda m, x: [x.clamp(-0.5, 0.5), x.clamp(min=0), torch.clamp(input=x, max=0.1),
                           x.clamp_min(0.2), x.clamp_max(0.3)],
    "comparisons": lambda m, x: [x > 0, x > 0, x <= x.transpose(1, 2).transpose(1, 2) * 2, x == x,
                                 x.ne(1), torch.ge(x, 0.5), x < m.scale],
    "logic": lambda m, x: [(x > 0) & (x < 1), (x > 0) | (x < -1), ~(x > 0),
                           torch.logical_not(x > 0), torch.logical_and(x > 0, x < 1)],
    "where": lambda m, x: [torch.where(x > 0, x, 0.0), torch.where(x > 0, 0.1, x),
                           torch.where(x > 0, m.scale, x),
                           torch.where(m.scale > 1, x, 2 * x), torch.where(m.scale > 0, x, 2 * x)],
    "masked_fill": lambda m, x: [x.masked_fill(x > 0, -1.0), x.masked_fill(m.scale > 1, math.inf),
                                 x.masked_fill(m.scale > 9, 1), x.masked_fill_(x < 0, 0)],
    "larger and smaller": lambda m, x: [torch.maximum(x, m.w), torch.minimum(x, -x),
                                        torch.max(x, 2 * x), torch.min(x, m.scale)],
    "casts": lambda m, x: [(x > 0).to(x.dtype), (x * 9).long(), (x > 0).type_as(x), x.to(x),
                           x.bool(), x.float().double(), x.to(torch.float32), (x * 9).int() + x],
    "mixed dtypes": lambda m, x: [(x > 0) * x, (x * 5).long() * 0.5, (x * 5).long() / 2,
                                  (x * 5).long() + 1, x + (x > 0)],
    "nothing happens": lambda m, x: x.contiguous().clone().detach() + F.dropout(x, 0.5, False),
    "reshapes": lambda m, x: [
        x.view(x.shape[0], -1), x.reshape(-1, 6), x.flatten(1), x.flatten(0, 1),
        x[:, None].squeeze(1),
        x.unsqueeze(-1), x.unflatten(-1, (2, 3)), x.reshape(x.size(0), 24).view_as(x), x.flatten(),
    ],
    "permutes": lambda m, x: [x.permute(2, 0, 1), x.transpose(-1, 0), x[:, 0].t(), x.mT,
                              torch.movedim(x, 0, 2), x[:, 0].T, x.swapaxes(1, 2)],
    "expands": lambda m, x: [
        x[:, :1].expand(-1, 5, -1), x[:, :, :1].expand_as(x), x.repeat(1, 2, 3),
        x.repeat(2, 1, 1, 1),
        x[:, :, :1].repeat(1, 1, 4), x.repeat_interleave(3, dim=1), m.b.expand(x.shape[0], 4),
        x[:, :1].tile(1, 2, 1), m.w.unsqueeze(0).expand(len(x), -1, -1) + x,
    ],
    "cat and stack": lambda m, x: [
        torch.cat([x, 2 * x], 1), torch.cat((x, m.w.expand(len(x), 4, 6)), -1),
        torch.stack([x, x + 1], 1), torch.stack((x, x), -1), torch.concat([x[:, :1], x], dim=1),
    ],
    "splits": lambda m, x: [x.split(2, 1), x.split([1, 5], -1), x.chunk(2, -1), x.unbind(1),
                            torch.split(x, 4, dim=2), x.narrow(1, 1, 2), x.select(2, 3)],
    "cat and back": lambda m, x: [torch.stack([x, x * 2, x * 3], 1)[:, 1],
                                  torch.cat([x, x * 2], 1)[:, 5:7], torch.cat([x, x], 1)[:, 3:5]],
    "indexing": lambda m, x: [
        x[:, 1], x[..., 0:4:2], x[:, :, None, 1:], x[:, -1], x[:, 1:, ::3], x[:, :, -2:], x[:],
        x[..., None], x[:, torch.tensor([2, 0, -1])], x[..., [1, 3]],
        x[:, torch.tensor([True, False, True, True])],
        x.index_select(2, torch.tensor([5, 0])), x[:, slice(None), 2],
    ],
    "gather": lambda m, x: x.gather(1, (x[:, :2] > 0).long()) + torch.gather(
        x, 2, x.topk(2, 2)[1].flip(-1).expand(-1, -1, -1)).sum(-1)[:, :2, None],
    "embedding": lambda m, x: [
        F.embedding((x > 0).long(), m.w), F.embedding((x[:, 0] > 0).int(), m.w),
        F.embedding((x[:, :, 0] > 0).long(), m.w, padding_idx=0),
    ],
    "numbers of the images": lambda m, x: [
        x[torch.arange(len(x)), 2], x[torch.arange(len(x)), (x[:, 0] > 9).long().sum(-1)],
        x[torch.arange(len(x))[:, None, None], torch.tensor([[3, 0, -1], [1, 1, 2]])],
        x[torch.arange(len(x))[:, None], (x[:, :3, 0] > 0).long()], x[torch.arange(len(x)), :, 1],
        x[torch.arange(len(x))[:, None], torch.arange(4)[None, :]], x[torch.arange(len(x))],
    ],
    "numbers that every image repeats": lambda m, x: [
        (x.flatten(0, 1) * m.b.repeat(len(x))[:, None]).unflatten(0, (-1, 4)),
        x.transpose(0, 1).reshape(2, -1, 6) + torch.arange(2.0).repeat(len(x))[:, None],
        x.flatten(0, 1) * torch.tensor([1.0, 2.0, 3.0, 4.0]).repeat(len(x))[:, None],
    ],
    "topk": lambda m, x: [*torch.topk(x, 2, dim=1), x.topk(3).values,
                          *x.topk(2, -1, largest=False), x.sort(-1, descending=True).values],
    "max": lambda m, x: [x.max(-1)[0], x.max(-1).indices, x.max(1, keepdim=True).values,
                         x.argmax(-1), x.min(-1)[0], x.amax((1, 2)), x.amin(-1, keepdim=True)],
    "reductions": lambda m, x: [x.sum(-1), x.mean((1, 2)), x.sum(1, keepdim=True), (x > 0).any(-1),
                                (x > 0).all(1), (x > 0).sum(-1), x.cumsum(1), x.mean(-1, True)],
    "variance": lambda m, x: [
        x.var(-1), x.var(1, keepdim=True, unbiased=False), x.std((1, 2), correction=0),
        *torch.var_mean(x, -1, keepdim=True, correction=0), torch.var(x, 2, False),
    ],
    "norms": lambda m, x: [x.norm(2, -1), F.normalize(x, dim=-1), torch.norm(x, dim=1)],
    "pad, flip, roll": lambda m, x: [F.pad(x, (1, 2)), F.pad(x, (0, 1, 2, 0), value=3.0), x.flip(1),
                                     torch.flip(x, (1, 2)), torch.roll(x, (1, -2), (1, 2)),
                                     F.pad(x, (-1, 2, 1, -2), value=2.0), F.pad(x, (0, -2))],
    "einsum": lambda m, x: torch.einsum("b q c, b k c -> b q k", x, x),
    "vectors": lambda m, x: [x @ m.scale, torch.matmul(m.scale, x.mT), x @ x[:, 0, :, None],
                             m.b @ x, F.linear(x, m.w[0])],
    "batched matmul": lambda m, x: [x @ x.mT, torch.bmm(x, x.transpose(1, 2)), x.matmul(m.w.t())],
    "attention": lambda m, x: [
        F.scaled_dot_product_attention(x, x, x),
        F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(4, 4).tril().bool()),
        F.scaled_dot_product_attention(x, x, x, is_causal=True),
        F.scaled_dot_product_attention(x[:, :2], x, x, is_causal=True, scale=0.3),
        F.scaled_dot_product_attention(x, x, x, attn_mask=m.b[:, None] > 0.5 + 0 * m.b),
        F.scaled_dot_product_attention(x, x, x, attn_mask=x[:, None, :, 0] > 0.5),
        F.scaled_dot_product_attention(x, x, x, attn_mask=m.b[:, None] - m.b),
        F.scaled_dot_product_attention(*(y.reshape(len(x), -1, 4, 2) for y in (
            x, x[:, :2, :4], x[:, :2, :4])), enable_gqa=True),
    ],
    "adaptive_avg_pool1d": lambda m, x: F.adaptive_avg_pool1d(x, 1),
    "addmm": lambda m, x: [torch.addmm(m.b, x[:, 0], m.w.t()),
                           torch.addmm(x[:, 0], x[:, 0], m.w.t() @ m.w)],
    "lerp, addcmul": lambda m, x: torch.lerp(x, 2 * x, 0.3) + torch.addcmul(x, x, m.scale, value=2),
    "set slice": set_slice,
    "set by mask": lambda m, x: x.clone().masked_fill_(x > 0, 1.0),
    "write through a view": write_through_view,
    "write, then read": write_then_read,
    "iterate": iterate,
    "positions": positions,
    "fill": lambda m, x: x.clone().fill_(2.0) + x.clone().zero_() + x.clone().copy_(m.scale),
}  # fmt: skip

# name → module of an image [B, 4, 8, 12].
IMAGE: dict[str, Callable[[], nn.Module]] = {
    "conv2d": lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=1, groups=2),
    "conv2d same": lambda: nn.Conv2d(4, 6, 3, padding="same", bias=False),
    "conv_transpose2d": lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1),
    "batch_norm": lambda: nn.BatchNorm2d(4),
    "batch_norm without weights": lambda: nn.BatchNorm2d(4, affine=False),
    "frozen batch norm": lambda: FrozenBatchNorm2d(4),
    "group_norm": lambda: nn.GroupNorm(2, 4),
    "instance_norm": lambda: nn.InstanceNorm2d(4, affine=True),
    "instance_norm, running": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    "conv2d same, uneven": lambda: nn.Conv2d(4, 6, (3, 5), padding="same", dilation=(2, 1)),
    "max_pool2d": lambda: nn.MaxPool2d(3, 2, 1),
    "max_pool2d, ceil and dilation": lambda: nn.MaxPool2d(3, 2, 1, dilation=2, ceil_mode=True),
    "max_pool2d with indices": lambda: nn.MaxPool2d(2, return_indices=True),
    "avg_pool2d": lambda: nn.AvgPool2d((2, 3)),
    "avg_pool2d, options": lambda: Apply(lambda m, x: [
        F.avg_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        F.avg_pool2d(x, 3, 2, ceil_mode=True), F.avg_pool2d(x, 3, 2, 1, True, False),
        F.avg_pool2d(x, (2, 3), divisor_override=4),
    ]),
    "adaptive max": lambda: Apply(lambda m, x: [
        F.adaptive_max_pool2d(x, 1), F.adaptive_max_pool2d(x, (4, 3)),
    ]),
    "pads": lambda: Apply(lambda m, x: [
        F.pad(x, (1, 2, 0, 3), "reflect"), F.pad(x, (2, 0, 1, 1), "replicate"),
        F.pad(x, (3, 1, 2, 2), "circular"), F.pad(x, (-1, 2, 1, -2), "replicate"),
    ]),
    "shuffles": lambda: Apply(lambda m, x: [
        F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2), F.channel_shuffle(x, 2),
    ]),
    "adaptive to one": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.ReLU()),
    "adaptive, divisible": lambda: nn.AdaptiveAvgPool2d((4, 3)),
    "adaptive, unequal": lambda: nn.AdaptiveAvgPool2d((3, 5)),
    "adaptive, larger": lambda: nn.AdaptiveAvgPool2d((11, 7)),
    "interpolate": lambda: Apply(lambda m, x: [
        F.interpolate(x, (16, 20), mode="bilinear", align_corners=False),
        F.interpolate(x, scale_factor=2, mode="nearest"),
        F.interpolate(x, size=(5, 7), mode="bicubic", align_corners=True),
    ]),
    "sampled by a map of its own": lambda: Apply(lambda m, x: [
        F.grid_sample(
            x, F.affine_grid(x.flatten(1)[:, :6].view(-1, 2, 3), (x.shape[0], 1, 5, 7), corners),
            mode, padding, corners,
        )
        for mode in ("bilinear", "nearest", "bicubic")
        for padding in ("zeros", "border", "reflection") for corners in (True, False)
    ]),
    "a volume, sampled": lambda: Apply(lambda m, x: [
        torch.grid_sampler(v, g, mode, 1, False)
        for v, g in [(x[:, None], F.affine_grid(x[:, 0, :3, :4], (x.shape[0], 1, 2, 3, 4), True))]
        for mode in (0, 1)
    ]),
    "conv, norm, relu, dropout": lambda: nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout2d()
    ),
    "boxes": lambda: Apply(lambda m, x: masks_to_boxes(x > 1, "bitmask")),
    "boxes, mask2box": lambda: Apply(lambda m, x: masks_to_boxes(x > 1, "mask2box")),
}  # fmt: skip


# name → module of a signal [B, 4, 12].
SIGNAL: dict[str, Callable[[], nn.Module]] = {
    "conv1d": lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2),
    "conv1d same": lambda: nn.Conv1d(4, 6, 3, padding="same", dilation=2, bias=False),
    "conv1d circular": lambda: nn.Conv1d(4, 6, 3, padding=1, padding_mode="circular"),
    "conv_transpose1d": lambda: nn.ConvTranspose1d(4, 6, 3, 2, 1, output_padding=1),
    "conv, norm, relu, pool": lambda: nn.Sequential(
        nn.Conv1d(4, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(4, 2, 3), nn.BatchNorm1d(2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
    ),
    "batch_norm": lambda: nn.BatchNorm1d(4),
    "instance_norm": lambda: nn.InstanceNorm1d(4),
    "pools": lambda: Apply(lambda m, x: [
        F.max_pool1d(x, 3, 2, 1), F.max_pool1d(x, 2, ceil_mode=True, dilation=2),
        F.avg_pool1d(x, 3, 2, 1), F.avg_pool1d(x, 5, ceil_mode=True, count_include_pad=False),
        F.adaptive_avg_pool1d(x, 1), F.adaptive_avg_pool1d(x, 4), F.adaptive_avg_pool1d(x, 5),
        F.adaptive_max_pool1d(x, 1), F.adaptive_max_pool1d(x, 4),
    ]),
    "interpolate": lambda: Apply(lambda m, x: [
        F.interpolate(x, 20, mode="linear"), F.interpolate(x, scale_factor=2, mode="nearest"),
        F.interpolate(x, 7, mode="linear", align_corners=True),
    ]),
}  # fmt: skip


class SelfAttention(nn.Module):
    """`MultiheadAttention` called in one way."""

    def __init__(self, batch_first: bool, bias: bool = True, **options: Any) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, batch_first=batch_first, bias=bias)
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        tokens = x if self.attn.batch_first else x.transpose(0, 1)
        out: Tensor = self.attn(tokens + 1, tokens + 1, tokens, **self.options)[0]
        return out


class Padded(nn.Module):
    """An encoder whose padding mask comes from the data; one token at least is seen."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = (x[:, :, 0] > 0.5) & (torch.arange(8) > 1)
        out: Tensor = self.encoder(x, src_key_padding_mask=hidden)
        return out


class Sampler(nn.Module):
    """Deformable attention over two levels, with one or the other kind of reference."""

    def __init__(self, width: int, masked: bool = False) -> None:
        super().__init__()
        self.attn = MSDeformAttn(8, 2, 2, 4)
        self.width, self.masked = width, masked

    def forward(self, x: Tensor) -> Tensor:
        references = x[:, :, None, : self.width].sigmoid().expand(-1, -1, 2, -1)
        mask = x[:, :, 0] > 0.5 if self.masked else None
        out: Tensor = self.attn(x, references, x, ((2, 3), (1, 2)), None, mask)
        return out


# name → module of tokens [B, 8, 8].
TOKENS: dict[str, Callable[[], nn.Module]] = {
    "attention": lambda: SelfAttention(True),
    "attention, sequence first": lambda: SelfAttention(False, need_weights=False),
    "attention without bias": lambda: SelfAttention(True, bias=False),
    "attention with a mask": lambda: SelfAttention(True, attn_mask=torch.ones(8, 8).triu(1).bool()),
    "attention with numbers": lambda: SelfAttention(
        True, attn_mask=torch.full((8, 8), -math.inf).triu(1), need_weights=False
    ),
    "attention, nothing masked": lambda: SelfAttention(True, attn_mask=torch.zeros(8, 8).bool()),
    "encoder layer, padded": lambda: Padded(),
    "encoder layer": lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
    "sampling, points": lambda: Sampler(2),
    "sampling, boxes": lambda: Sampler(4),
    "sampling, padded": lambda: Sampler(2, masked=True),
}


class Block(nn.Module):
    """A residual block whose parts the tests of places and scopes look at."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor, gain: float = 1.0, extra: dict[str, Tensor] | None = None) -> Any:
        y = x + gain * F.gelu(self.linear(self.norm(x)))
        return (y, {"twice": y * 2}) if extra is None else y + extra["shift"]


class Stack(nn.Module):
    """Two blocks with shared weights after an embedding; outputs are nested."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleDict({"block": Block()})
        self.again = self.inner["block"]
        self.head = nn.Sequential(nn.Linear(6, 3), nn.ReLU())

    def forward(self, x: Tensor) -> dict[str, Any]:
        x, _ = self.inner["block"](x)
        first = x
        x = self.again(x, 0.5, {"shift": x})
        return {"logits": self.head(x), "aux": [first, (x, None, 3)]}
