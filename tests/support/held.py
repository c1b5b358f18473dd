"""A model held against its program: outputs, gradient times input, and the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import lrpc

RULES = ("gradient_input", "attnlrp")


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


class Apply(nn.Module):
    """A function of (module, x), with a parameter `w` [4, 6], buffers `b` [4] and `scale` [6], and
    given modules."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.w = nn.Parameter(random(4, 6, seed=5))
        self.register_buffer("b", random(4, seed=6))
        self.register_buffer("scale", random(6, seed=7))
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def tensors_of(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree
    return [x for part in parts for x in tensors_of(part)]


def near(found: Tensor, wanted: Tensor, limit: float) -> None:
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    if wanted.dtype == torch.bool or not wanted.is_floating_point():
        assert torch.equal(found, wanted)
        return
    assert bool(torch.isfinite(found).all())
    scale = max(float(wanted.detach().abs().max()), 1.0) if wanted.numel() else 1.0
    assert float((found - wanted).detach().abs().max()) <= limit * scale


def hold(model: nn.Module, shape: tuple[int, ...], gradient: bool = True, **options: Any) -> Any:
    """The program: its first output and its relevance equal the model's; other batch sizes."""
    torch.manual_seed(0)
    model = model.double().eval()
    x = random(2, *shape)
    program = lrpc.compile(model, (x,), composite=list(RULES), **options)
    for size in (1, 2, 5):
        other = random(size, *shape, seed=size)
        with torch.no_grad():
            wanted = tensors_of(model(other.clone()))
        found = tensors_of(program.forward(other).outputs)
        for mine, theirs in zip(found, wanted, strict=True):
            near(mine, theirs, 1e-12)
    state = program.forward(x)
    target = program.manifest["targets"][0]["name"]
    out = tensors_of(state.outputs)[0]
    weights = torch.where(out == 0, 0.0, random(*out.shape, seed=9))
    for rules in RULES:
        found = program.relevance(
            state, target, seeds=(weights * out)[None], composite=rules, ledger=True
        )
        assert bool(torch.isfinite(found.input).all())
        assert float(found.ledger.closure.max()) < 1e-10
        if rules == "gradient_input" and gradient:
            leaf = x.clone().requires_grad_()
            total = (tensors_of(model(leaf))[0] * weights).sum()
            (slope,) = torch.autograd.grad(total, leaf)
            assert slope.abs().max() > 0
            near(found.input[0], x * slope, 1e-10)
    return program
