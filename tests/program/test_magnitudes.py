"""Programs take magnitudes of weights where they read them: they hold the weights alone."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

import lrpc
from lrpc.commands.bench.memory import held


def test_weights_are_held_once() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.GELU(), nn.Flatten(), nn.Linear(64, 5)).eval()
    program: Any = lrpc.compile(model, (torch.randn(1, 3, 8, 8),), composite="gamma")
    own = sum(p.numel() * p.element_size() for p in model.parameters())
    assert held(program.weights.values()) == own == program.manifest["plan"]["weights"]
    stored = load_file(program.directory / "weights.safetensors")
    left = stored.keys() - program.weights.keys()
    assert left == {f"{name}@magnitude" for name, _ in model.named_parameters()}
    for name in left:
        assert torch.equal(stored[name], stored[name.removesuffix("@magnitude")].abs())
