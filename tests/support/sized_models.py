"""Small models in the style of those that people have, of images and sequences of any size."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.models.maskdino.layers import MSDeformAttn


def conv(a: int, b: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1), nn.BatchNorm2d(b), nn.ReLU())


class Retina(nn.Module):
    """A pyramid with nearest upsampling and shared heads, flattened over levels."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv(3, 4, 4), conv(4, 6, 2), conv(6, 6, 2)])
        self.side = nn.ModuleList([nn.Conv2d(c, 4, 1) for c in (4, 6, 6)])
        self.classes, self.boxes = nn.Conv2d(4, 2 * 3, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = []
        for layer in self.down:
            x = layer(x)
            found.append(x)
        maps = [side(f) for side, f in zip(self.side, found, strict=True)]
        for i in (1, 0):
            maps[i] = maps[i] + F.interpolate(maps[i + 1], scale_factor=2.0, mode="nearest")
        scores = []
        for plane in maps:
            y = self.classes(plane)
            n, _, h, w = y.shape
            y = y.view(n, -1, 3, h, w).permute(0, 3, 4, 1, 2)
            scores.append(y.reshape(n, -1, 3))
        boxes = [self.boxes(p).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4) for p in maps]
        return {"classes": torch.cat(scores, 1), "boxes": torch.cat(boxes, 1)}


class Levels(nn.Module):
    """Levels by strides beyond the step of sizes, as MaskDINO adds them: tokens of all, with a
    position in each, and what is split again."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 32, 32)
        self.down = nn.ModuleList(nn.Conv2d(4, 4, 3, 2, 1) for _ in range(count))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = [self.stem(x).relu()]
        for conv in self.down:
            maps.append(conv(maps[-1]).relu())
        tokens = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1)
        places = torch.cat(
            [
                (torch.arange(m.shape[3], dtype=m.dtype) + 0.5).repeat(m.shape[2]) / m.shape[3]
                for m in maps
            ]
        )
        tokens = self.head(tokens + places[:, None])
        parts = tokens.split([m.shape[2] * m.shape[3] for m in maps], 1)
        up = sum(F.interpolate(m, size=maps[0].shape[2:]) for m in maps)
        return {"tokens": torch.cat([p.mean(1) for p in parts], 1), "map": up.mean((2, 3))}


class DeepLab(nn.Module):
    """Dilated convolutions beside an image-wide mean, resized to the input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 4, 2), conv(4, 6, 2))
        self.near, self.far = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 3, padding=2, dilation=2)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 4, 1), nn.ReLU())
        self.out = nn.Conv2d(12, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.stem(x)
        size = y.shape[-2:]
        pooled = F.interpolate(self.pool(y), size=size, mode="bilinear", align_corners=False)
        y = self.out(torch.cat([self.near(y).relu(), self.far(y).relu(), pooled], 1))
        y = F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return {"map": y}


class UNet(nn.Module):
    """Bilinear and transposed upsampling, with the padding of differences that are 0."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 4), conv(4, 6), conv(6, 6)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.transposed, self.out = nn.ConvTranspose2d(6, 4, 2, 2), nn.Conv2d(8, 2, 1)
        self.join = conv(12, 6)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        c = self.up(self.c(F.max_pool2d(b, 2)))
        dy, dx = b.size(2) - c.size(2), b.size(3) - c.size(3)
        c = F.pad(c, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        y = self.transposed(self.join(torch.cat([b, c], 1)))
        return {"map": self.out(torch.cat([a, y], 1))}


class ConvNeXt(nn.Module):
    """A patch stem, depthwise convolution, norm over channels, scaled residual, pyramid pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depth = nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, 6, 7, padding=3, groups=6)
        self.norm, self.wide, self.thin = nn.LayerNorm(6), nn.Linear(6, 12), nn.Linear(12, 6)
        self.gamma = nn.Parameter(torch.rand(6))
        self.head = nn.Linear(6 * 5, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        y = self.norm(self.depth(x).permute(0, 2, 3, 1))
        y = self.thin(F.gelu(self.wide(y))) * self.gamma
        x = x + y.permute(0, 3, 1, 2)
        pooled = [F.adaptive_avg_pool2d(x, n).flatten(1) for n in (1, 2)]
        return {"classes": self.head(torch.cat(pooled, 1))}


class Attention(nn.Module):
    def __init__(self, width: int, heads: int = 2, reduce: int = 1) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.reduce = nn.Conv2d(width, width, reduce, reduce) if reduce > 1 else None

    def forward(self, x: Tensor, h: int, w: int) -> Tensor:
        b, n, c = x.shape
        q = self.q(x).reshape(b, n, self.heads, c // self.heads).permute(0, 2, 1, 3)
        if self.reduce is not None:
            y = self.reduce(x.permute(0, 2, 1).reshape(b, c, h, w))
            x = y.reshape(b, c, -1).permute(0, 2, 1)
        kv = self.kv(x).reshape(b, -1, 2, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        weights = ((q @ kv[0].transpose(-2, -1)) * self.scale).softmax(-1)
        return self.proj((weights @ kv[1]).transpose(1, 2).reshape(b, n, c))


class SegFormer(nn.Module):
    """Overlapping patches, attention to reduced keys, a depthwise convolution in the MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 8, 7, 4, 3), nn.LayerNorm(8)
        self.attention, self.wide = Attention(8, reduce=2), nn.Linear(8, 8)
        self.depth, self.head = nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.patch(x)
        _, _, h, w = y.shape
        y = y.flatten(2).transpose(1, 2)
        y = y + self.attention(self.norm(y), h, w)
        z = self.wide(y).transpose(1, 2).view(y.shape[0], 8, h, w)
        y = y + F.gelu(self.depth(z).flatten(2).transpose(1, 2))
        plane = self.head(y).permute(0, 2, 1).reshape(x.shape[0], -1, h, w)
        return {"map": F.interpolate(plane, size=x.shape[2:], mode="bilinear")}


class Swin(nn.Module):
    """Attention in windows, padded to whole windows and rolled by two cells."""

    def __init__(self, window: int = 4) -> None:
        super().__init__()
        self.window = window
        self.patch, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.attention, self.merge = Attention(8), nn.Linear(32, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.patch(x).permute(0, 2, 3, 1)
        _, rows, columns, _ = x.shape
        m = self.window
        x = F.pad(x, (0, 0, 0, (m - columns % m) % m, 0, (m - rows % m) % m))
        b, h, w, c = x.shape
        y = torch.roll(self.norm(x), (-2, -2), (1, 2))
        y = y.view(b, h // m, m, w // m, m, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, m * m, c)
        y = self.attention(y, m, m)
        y = y.view(b, h // m, w // m, m, m, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        x = (x + torch.roll(y, (2, 2), (1, 2)))[:, :rows, :columns]
        parts = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return {"classes": self.head(self.merge(torch.cat(parts, -1)).mean((1, 2)))}


def sine(mask: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """DETR's positions: places counted by running sums over what is no padding."""
    y, x = mask.cumsum(1, dtype=dtype), mask.cumsum(2, dtype=dtype)
    y = y / (y[:, -1:, :] + 1e-6) * 2 * math.pi
    x = x / (x[:, :, -1:] + 1e-6) * 2 * math.pi
    dim = torch.arange(width, dtype=dtype, device=mask.device)
    dim = 100 ** (2 * torch.div(dim, 2, rounding_mode="floor") / width)
    found = []
    for axis in (y, x):
        code = axis[:, :, :, None] / dim
        both = torch.stack((code[:, :, :, 0::2].sin(), code[:, :, :, 1::2].cos()), 4)
        found.append(both.flatten(3))
    return torch.cat(found, 3).permute(0, 3, 1, 2)


class Detr(nn.Module):
    """Sine positions over a mask of ones, an encoder layer, queries that look at it, boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.project = nn.Sequential(conv(3, 4, 4), conv(4, 6, 2)), nn.Conv2d(6, 8, 1)
        self.encoder, self.norm = Attention(8), nn.LayerNorm(8)
        self.queries = nn.Embedding(5, 8)
        self.look = nn.MultiheadAttention(8, 2, batch_first=True)
        self.classes, self.boxes = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        b, _, h, w = x.shape
        mask = torch.ones((b, h, w), device=x.device)
        y = self.project(self.stem(x))
        small = F.interpolate(mask[None].float(), size=y.shape[-2:]).to(torch.bool)[0]
        position = sine(small, 4, x.dtype).flatten(2).permute(0, 2, 1)
        tokens = y.flatten(2).permute(0, 2, 1)
        tokens = self.norm(tokens + self.encoder(tokens + position, *y.shape[-2:]))
        queries = self.queries.weight[None].repeat(b, 1, 1)
        found = queries + self.look(queries, tokens + position, tokens, need_weights=False)[0]
        return {"classes": self.classes(found), "boxes": self.boxes(found).sigmoid()}


class DeformableDetr(nn.Module):
    """Reference points from linspace(0.5, H - 0.5, H), valid ratios, levels as a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv(3, 8, 8), conv(8, 8, 2)])
        self.level = nn.Parameter(torch.randn(2, 8))
        self.attention = MSDeformAttn(8, 2, 2, 2)
        nn.init.normal_(self.attention.sampling_offsets.weight)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    @staticmethod
    def references(shapes: Tensor | list[tuple[int, int]], ratios: Tensor) -> Tensor:
        found = []
        for level, (h, w) in enumerate(shapes):
            y, x = torch.meshgrid(
                torch.linspace(0.5, h - 0.5, h, dtype=ratios.dtype, device=ratios.device),
                torch.linspace(0.5, w - 0.5, w, dtype=ratios.dtype, device=ratios.device),
                indexing="ij",
            )
            y = y.reshape(-1)[None] / (ratios[:, None, level, 1] * h)
            x = x.reshape(-1)[None] / (ratios[:, None, level, 0] * w)
            found.append(torch.stack((x, y), -1))
        return torch.cat(found, 1)[:, :, None] * ratios[:, None]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps, shapes = [], []
        for layer in self.down:
            x = layer(x)
            maps.append(x)
            shapes.append((x.shape[2], x.shape[3]))
        spatial = torch.as_tensor(shapes, dtype=torch.long, device=x.device)
        starts = torch.cat((spatial.new_zeros((1,)), spatial.prod(1).cumsum(0)[:-1]))
        joined = [m.flatten(2).transpose(1, 2) + p for m, p in zip(maps, self.level, strict=True)]
        tokens = torch.cat(joined, 1)
        ratios = torch.stack([self.ratio(m) for m in maps], 1)
        references = self.references(shapes, ratios)
        y = self.attention(tokens, references, tokens, spatial, starts)
        return {"classes": self.head(self.norm(tokens + y))}

    @staticmethod
    def ratio(plane: Tensor) -> Tensor:
        mask = torch.ones(plane.shape[0], *plane.shape[2:], dtype=plane.dtype)
        _, h, w = mask.shape
        return torch.stack([mask[:, 0].sum(1) / w, mask[:, :, 0].sum(1) / h], -1)


class Vit(nn.Module):
    """A class token and learned positions, resized to the patches of the image."""

    def __init__(self, how: str = "size") -> None:
        super().__init__()
        self.how = how
        self.patch, self.token = nn.Conv2d(3, 8, 8, 8), nn.Parameter(torch.randn(1, 1, 8))
        self.place = nn.Parameter(torch.randn(1, 1 + 16, 8))
        self.norm, self.attention = nn.LayerNorm(8), Attention(8)
        self.head = nn.Linear(8, 3)

    def positions(self, x: Tensor, width: int, height: int) -> Tensor:
        plane = self.place[:, 1:].reshape(1, 4, 4, 8).permute(0, 3, 1, 2)
        h, w = height // 8, width // 8
        if self.how == "size":
            plane = F.interpolate(plane, size=(h, w), mode="bicubic", align_corners=False)
        elif self.how == "scale":  # DINO's: a little more, so that it rounds to the size
            factors = ((h + 0.1) / 4, (w + 0.1) / 4)
            plane = F.interpolate(plane, scale_factor=factors, mode="bicubic")
        else:
            plane = F.interpolate(plane, size=(h, w), mode="bilinear", align_corners=False)
        plane = plane.permute(0, 2, 3, 1).view(1, -1, 8)
        return torch.cat((self.place[:, :1], plane), 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        b, _, height, width = x.shape
        y = self.patch(x).flatten(2).transpose(1, 2)
        y = torch.cat((self.token.expand(b, -1, -1), y), 1)
        y = y + self.positions(y, width, height)
        y = y + self.attention(self.norm(y), 0, 0)
        return {"classes": self.head(y[:, 0]), "patches": y[:, 1:]}


class Sequence(nn.Module):
    """Learned positions by slice, a causal mask, tokens that are summed up."""

    def __init__(self, mask: str = "tril") -> None:
        super().__init__()
        self.mask = mask
        self.table, self.place = nn.Embedding(11, 8), nn.Parameter(torch.randn(1, 32, 8))
        self.norm, self.q, self.k = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.v, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
        self.register_buffer("causal", torch.tril(torch.ones(32, 32, dtype=torch.bool)))

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        t = ids.shape[1]
        x = self.table(ids) + self.place[:, :t]
        y = self.norm(x)
        q, k, v = self.q(y), self.k(y), self.v(y)
        if self.mask == "sdpa":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(1, 2) / math.sqrt(8)
            if self.mask == "tril":
                keep = torch.tril(torch.ones(t, t, dtype=torch.bool, device=ids.device))
                scores = scores.masked_fill(~keep, float("-inf"))
            elif self.mask == "buffer":
                scores = scores.masked_fill(~self.causal[:t, :t], float("-inf"))
            elif self.mask == "triu":
                scores = scores + torch.triu(torch.full((t, t), float("-inf")), diagonal=1)
            else:
                place = torch.arange(t)
                scores = scores.masked_fill(place[None] > place[:, None], float("-inf"))
            y = scores.softmax(-1) @ v
        x = x + y
        return {"next": self.head(x), "last": self.head(x[:, -1]), "all": self.head(x.mean(1))}


class Numbers(nn.Module):
    """Python's arithmetic with sizes, and numbers read from tensors that are made of them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.stem(F.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4)))
        b, c, h, w = y.shape
        rows = torch.linspace(-(h - 1) / 2, (h - 1) / 2, h, dtype=x.dtype) / h
        columns = (torch.arange(w, dtype=x.dtype) + 0.5) * (1 / w) - 0.5 * h / (2 * w)
        scale = torch.tensor([1 / h, 2.0, h, w], dtype=x.dtype)
        y = y + rows[:, None] * columns + scale[:, None, None]
        left, right = y.chunk(2, dim=3)
        size = torch.tensor([h, w // 2])
        high, wide = size.tolist()
        half = F.interpolate(left - right.flip(3), scale_factor=0.5, mode="nearest")
        half = half.reshape(b, c, high // 2, int(size[1]) // 2).roll((1, -1), (2, 3))
        last = F.adaptive_avg_pool2d(half[:, :, ::2, 1::2], (2, 1)).flatten(2).sum(-1)
        mean = y.sum((2, 3)) / y[0, 0].numel() + y.flatten(2)[..., -1] / float(wide)
        return {"classes": self.head(mean) + self.head(last)}
