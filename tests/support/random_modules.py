"""Small random models as people write them: steps on images, then on tokens, then on features."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (
    *(nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.LeakyReLU, nn.Hardswish),
    *(nn.ReLU6, nn.Mish, nn.Softplus, lambda: nn.ReLU(inplace=True)),
)


class Step(nn.Module):
    """Modules and a function of them and the input; `says` is how a failure names it."""

    def __init__(self, says: str, f: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.says, self.f, self.parts = says, f, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x, *self.parts)

    def extra_repr(self) -> str:
        return self.says


class Model(nn.Module):
    """Steps one after the other, and a linear head."""

    def __init__(self, steps: list[Step], head: nn.Linear) -> None:
        super().__init__()
        self.steps, self.head = nn.Sequential(*steps), head

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.steps(x))
        return out


class Drawer:
    """Draws steps that fit the shape reached so far (of one image, batch axis left out)."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def activation(self) -> nn.Module:
        return self.random.choice(ACTIVATIONS)()

    # -- images [B, C, H, W] ---------------------------------------------------------------------

    def image(self, c: int, h: int, w: int) -> Step:
        act = self.activation()
        conv = nn.Conv2d(c, c, 3, padding=1, groups=self.random.choice([1, c]))
        norm = self.random.choice([nn.BatchNorm2d(c), nn.GroupNorm(2, c), nn.InstanceNorm2d(c)])
        wider = nn.Conv2d(c, 2 * c, 1)
        choices = [
            Step("conv, norm", lambda x, f, n, a: a(n(f(x))), conv, norm, act),
            Step("residual", lambda x, f, a: x + a(f(x)), conv, act),
            Step("residual in place", _added_in_place, conv, norm),
            Step("activation", lambda x, a: a(x), act),
            Step("excitation", _excited, nn.Linear(c, 2), nn.Linear(2, c)),
            Step("chunks", _chunks, act),
            Step("gate", lambda x, f: F.glu(f(x), 1), wider),
            Step("channels last", _channels_last, nn.LayerNorm(c)),
            Step("padded", lambda x, f: f(F.pad(x, (1, 1, 1, 1))), nn.Conv2d(c, c, 3)),
            Step("position", lambda x: x + torch.linspace(0, 1, w, dtype=x.dtype)),
            Step("turned", lambda x, f: f(x.flip(-1)) - x.mean((2, 3), keepdim=True), conv),
            Step("global extremes", lambda x: x - 0.5 * x.amax((2, 3), keepdim=True)),
        ]
        if h >= 4 and w >= 4:
            choices += [
                Step("max pool", lambda x: F.max_pool2d(x, 2)),
                Step("average pool", lambda x: F.avg_pool2d(x, 3, 2, 1)),
                Step("adaptive", lambda x, p: p(x), nn.AdaptiveAvgPool2d(2)),
                Step("strided", lambda x, f: f(x).relu_(), nn.Conv2d(c, c, 2, stride=2)),
            ]
        else:
            choices += [
                Step("nearest", lambda x: F.interpolate(x, scale_factor=2)),
                Step("transposed", lambda x, f: f(x), nn.ConvTranspose2d(c, c, 2, stride=2)),
            ]
        return self.random.choice(choices)

    # -- tokens [B, T, C] ------------------------------------------------------------------------

    def tokens(self, c: int) -> Step:
        act, norm, token = self.activation(), nn.LayerNorm(c), nn.Linear(1, c)
        attention = nn.MultiheadAttention(c, 2, batch_first=True)
        mlp = nn.Sequential(nn.Linear(c, 5), act, nn.Linear(5, c))
        qkv = nn.Linear(c, 3 * c)
        return self.random.choice([
            Step("mlp", lambda x, n, f: x + f(n(x)), norm, mlp),
            Step("attention", _attended, norm, attention),
            Step("causal", _causal, qkv),
            Step("masked by where", _masked, qkv),
            Step("norm after", lambda x, n, f: n(x + f(x)), norm, mlp),
            Step("mixing", lambda x: torch.einsum("bic,bjc->bij", x, x).softmax(-1) @ x),
            Step("class token", _with_token, token),
            Step("every other", lambda x: torch.cat((x[:, ::2], x[:, -1:]), dim=1)),
            Step("split", _split, act),
            Step("running mean", lambda x: x - 0.2 * x.cumsum(1)),
            Step("scaled", lambda x: x / (x * x).mean(-1, keepdim=True).add(0.1).sqrt()),
            Step("summed", lambda x: x * torch.einsum("btc,bc->b", x, x[:, 0])[:, None, None]),
        ])  # fmt: skip

    # -- features [B, C] -------------------------------------------------------------------------

    def features(self, c: int) -> Step:
        act, line = self.activation(), nn.Linear(c, c)
        return self.random.choice([
            Step("linear", lambda x, f, a: a(f(x)), line, act),
            Step("batch norm", lambda x, n, f: f(n(x)), nn.BatchNorm1d(c), line),
            Step("in place", lambda x, f: f(x).mul_(0.5).add_(x), line),
            Step("soft sign", lambda x: x / (1 + x.abs())),
            Step("leaky by where", lambda x: torch.where(x > 0, x, 0.1 * x)),
            Step("clamped", lambda x, f: f(x).clamp(-0.7, 0.9), line),
            Step("root", lambda x: (x * x + 1).sqrt() - 1),
            Step("waves", lambda x: torch.cat((x.sin(), x.cos()), -1).reshape(-1, c, 2).sum(-1)),
            Step("logarithm", lambda x: torch.log(1 + x.exp())),
            Step("normalised", lambda x: F.normalize(x, dim=-1)),
            Step("larger of two", lambda x, f: torch.maximum(x, f(x)), line),
            Step("inverse", lambda x: x * (1 + x**2).reciprocal()),
            Step("outer", lambda x: (x[:, :, None] * x[:, None, :]).mean(-1)),
            Step("weights", lambda x, f: x * f(x).softmax(-1), line),
        ])  # fmt: skip

    def step(self, shape: torch.Size) -> Step:
        """One that fits values of `shape`, batch axis first."""
        if len(shape) == 4:
            if self.random.random() < 0.3:
                return Step("to tokens", lambda x: x.flatten(2).transpose(1, 2))
            return self.image(*shape[1:])
        if len(shape) == 3:
            ends = [
                Step("mean", lambda x: x.mean(1)),
                Step("maximum", lambda x: x.max(1).values),
                Step("first", lambda x: x[:, 0]),
                Step("flat", lambda x: x.flatten(1)),
            ]
            return self.random.choice(ends) if self.random.random() < 0.3 else self.tokens(shape[2])
        return self.features(shape[1])


def _added_in_place(x: Tensor, f: nn.Module, norm: nn.Module) -> Tensor:
    y: Tensor = norm(f(x))
    y += x
    return y


def _excited(x: Tensor, down: nn.Module, up: nn.Module) -> Tensor:
    gate = torch.sigmoid(up(F.relu(down(x.mean((2, 3))))))
    return x * gate[:, :, None, None]


def _chunks(x: Tensor, act: nn.Module) -> Tensor:
    a, b = x.chunk(2, dim=1)
    return torch.cat((b, act(a.clone())), dim=1)


def _channels_last(x: Tensor, norm: nn.Module) -> Tensor:
    y: Tensor = norm(x.permute(0, 2, 3, 1))
    return y.permute(0, 3, 1, 2).contiguous()


def _attended(x: Tensor, norm: nn.Module, attention: nn.Module) -> Tensor:
    y = norm(x)
    mixed: Tensor = attention(y, y, y, need_weights=False)[0]
    return x + mixed


def _causal(x: Tensor, qkv: nn.Module) -> Tensor:
    q, k, v = qkv(x).chunk(3, dim=-1)
    return x + F.scaled_dot_product_attention(q, k, v, is_causal=True)


def _masked(x: Tensor, qkv: nn.Module) -> Tensor:
    q, k, v = qkv(x).split(x.shape[-1], dim=-1)
    scores = q @ k.transpose(-2, -1) / x.shape[-1] ** 0.5
    seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    weights = torch.where(seen, scores, float("-inf")).softmax(-1)
    return torch.matmul(weights, v)


def _with_token(x: Tensor, token: nn.Linear) -> Tensor:
    last = token.weight[:, 0].expand(x.shape[0], 1, -1)
    return torch.cat((x, last), dim=1)


def _split(x: Tensor, act: nn.Module) -> Tensor:
    a, b = x.split([1, x.shape[-1] - 1], dim=-1)
    return torch.cat((act(b.clone()), a * b[..., :1]), dim=-1)


def drawn(seed: int, longest: int = 10) -> tuple[nn.Module, Tensor]:
    """A model in double precision and evaluation mode, its weights and buffers perturbed, and three
    inputs: the same for the same seed."""
    torch.manual_seed(seed)
    drawer = Drawer(seed)
    shapes = ((3, 4, 6, 5), (3, 2, 4, 4), (3, 5, 4), (3, 6))
    x = torch.randn(drawer.random.choice(shapes), dtype=torch.float64)
    steps, y = list[Step](), x
    for _ in range(drawer.random.randint(2, longest)):
        step = _perturbed(drawer.step(y.shape))
        steps.append(step)
        y = step(y.clone()).detach()
    while y.dim() > 2:
        step = Step("flat", lambda v: v.flatten(1))
        steps.append(step)
        y = step(y)
    return Model(steps, nn.Linear(y.shape[1], 3).double()).eval(), x


def _perturbed(step: Step) -> Step:
    step = step.double().eval()
    with torch.no_grad():
        for parameter in step.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for buffer in step.buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    return step
