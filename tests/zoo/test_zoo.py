"""Small models of transformers, from vision to text: outputs, gradient, and the ledger.

All of them are slow; a handful is not. `scanned` is what a table of all is made of.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import lrpc
from lrpc.errors import LrpcError
from tests.models.zoo import ZOO, Entry, built, example

FAST = ("ViT", "ResNet", "SegFormer", "GPT-2")
RULES = ("gradient_input", "attnlrp")

#: Computed in float32 in part, as norms and positions of these are whatever the model's dtype.
IN_FLOAT32 = 1e-5


@dataclass(frozen=True)
class Scanned:
    """What came of a model: the line that refuses it, or how far the program is from it."""

    refused: str = ""
    forward: float = 0.0  # on the example, on others, and at other batch sizes
    gradient: float = 0.0  # of gradient_input and autograd, where the input is floating
    open: float = 0.0  # what the ledger of any rules leaves open
    in_float32: bool = False

    @property
    def holds(self) -> bool:
        near = IN_FLOAT32 if self.in_float32 else 1e-10
        return (
            not self.refused
            and max(self.forward, self.open) <= near
            and (self.gradient <= max(near, 1e-8))
        )


def scanned(entry: Entry) -> Scanned:
    """Compile a model of the zoo, and hold the program against it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = built(entry)
        x = example(entry)
        try:
            program = lrpc.compile(model, (x,), composite=list(RULES))
        except LrpcError as error:
            return Scanned(str(error))
        forward = max(_forward(model, program, example(entry, n, 7 + n)) for n in (1, 2, 3))
        state = program.forward(x)
        weights = torch.randn(
            state.outputs.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
        )
        found = {
            rules: program.relevance(
                state, program.manifest["targets"][0]["name"],
                seeds=(weights * state.outputs)[None], composite=rules, ledger=True,
            )
            for rules in RULES
        }  # fmt: skip
        opened = max(float(r.ledger.closure.max()) for r in found.values())
        gradient = _gradient(model, x, weights, found["gradient_input"].inputs["x"][0])
    assert all(bool(r.inputs["x"].any()) for r in found.values())
    text = (program.directory / "graph.lrp").read_text()
    return Scanned("", forward, gradient, opened, ": f32[" in text)


def _forward(model: Any, program: Any, x: Tensor) -> float:
    with torch.no_grad():
        wanted = model(x)
    return _apart(program.forward(x).outputs, wanted)


def _gradient(model: Any, x: Tensor, weights: Tensor, found: Tensor) -> float:
    if not x.is_floating_point():
        return 0.0
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad((model(leaf) * weights).sum(), leaf)
    return _apart(found, x * slope)


def _apart(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in ZOO]
)
def test_a_model(name: str) -> None:
    entry = ZOO[name]
    found = scanned(entry)
    if entry.refused:
        assert found.refused.startswith(entry.refused)
    else:
        assert found.holds, found
