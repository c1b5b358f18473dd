"""Compiles a small model of a package, and says how far the program is from the model."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import lrpc
from lrpc.errors import LrpcError
from lrpc.ir.graph import Graph
from lrpc.ir.parser import parse_graph
from tests.zoo.entry import Model, built, example

RULES = ("gradient_input", "attnlrp")
FORWARD, LEDGER, GRADIENT, IN_FLOAT32 = 1e-10, 1e-10, 1e-8, 1e-5
TIMES = 5


@dataclass(frozen=True)
class Scanned:
    """What came of a model: the line that refuses it, or how far the program is from it."""

    refused: str = ""
    forward: float = 0.0  # outputs: on the example, on others, and at other batch sizes
    gradient: float = 0.0  # of gradient_input from autograd's
    opened: float = 0.0  # what the ledger of any rules leaves open
    in_float32: bool = False  # whether the model casts to float32 in part
    time: float = 0.0  # forward and attnlrp, relative to the model's forward and autograd

    @property
    def holds(self) -> bool:
        if self.refused:
            return False
        if self.in_float32:
            return max(self.forward, self.gradient, self.opened) <= IN_FLOAT32
        return (
            self.forward <= FORWARD and self.opened <= LEDGER and self.gradient <= GRADIENT
        )  # fmt: skip


class Widened(nn.Module):
    """A model with its casts to float32 made casts to float64."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        with _Wide():
            found: Tensor = self.model(x)
            return found


class _Wide(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()
        wide = {key: _wide(value) for key, value in (kwargs or {}).items()}
        return func(*map(_wide, args), **wide)


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


def scanned(entry: Model, widened: bool = False) -> tuple[Scanned, Graph | None]:
    """What came of a model, and the graph of its program with the roles of all nodes; `widened`:
    in float64 throughout."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Widened(built(entry)) if widened else built(entry)
        x = example(entry)
        try:
            program = lrpc.compile(model, (x,), composite=list(RULES))
        except LrpcError as error:
            return Scanned(str(error)), None
        text = (program.directory / "graph.lrp").read_text()
        forward = max(_forward(model, program, example(entry, n, 7 + n)) for n in (1, 2, 3))
        gradient, opened = _relevance(model, program, x)
        ratio = _ratio(model, program, x)
    found = Scanned("", forward, gradient, opened, ": f32[" in text, ratio)
    return found, parse_graph(text)


def _forward(model: nn.Module, program: Any, x: Tensor) -> float:
    with torch.no_grad():
        wanted = model(x)
    return _apart(program.forward(x).outputs, wanted)


def _relevance(model: nn.Module, program: Any, x: Tensor) -> tuple[float, float]:
    """How far the gradient is from autograd's, and the ledgers are from closed."""
    state = program.forward(x)
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(state.outputs.shape, generator=generator, dtype=torch.float64)
    seeds = (weights * state.outputs)[None]
    found = {rules: _explained(program, state, seeds, rules, ledger=True) for rules in RULES}
    opened = max(float(r.ledger.closure.max()) for r in found.values())
    assert all(bool(r.inputs["x"].any()) for r in found.values())
    wanted, size = autograd(model, x, weights)
    off = (found["gradient_input"].inputs["x"][0] - wanted).abs().max()
    return float(off) / size, opened


def _explained(program: Any, state: Any, seeds: Tensor, rules: str, ledger: bool) -> Any:
    target = program.manifest["targets"][0]["name"]
    return program.relevance(state, target, seeds=seeds, composite=rules, ledger=ledger)


def autograd(model: nn.Module, x: Tensor, weights: Tensor) -> tuple[Tensor, float]:
    """Gradient times input of Σ weights · outputs, and how large it is; of tokens, summed over each
    one's row, and how large the terms are: behind a norm that stands alone they sum to nothing."""
    if x.is_floating_point():
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad((model(leaf) * weights).sum(), leaf)
        found = x * slope
        return found, float(found.abs().max())
    rows: list[Tensor] = []

    def looked_up(module: nn.Module, given: tuple[Tensor, ...], row: Tensor) -> Tensor | None:
        if given[0].shape != x.shape or not torch.equal(given[0], x):
            return None
        rows.append(row.detach().requires_grad_())
        return rows[-1]

    with contextlib.ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                hooks.callback(module.register_forward_hook(looked_up).remove)  # type: ignore[arg-type]
        slopes = torch.autograd.grad((model(x) * weights).sum(), rows)
    terms = [(row * slope).detach() for row, slope in zip(rows, slopes, strict=True)]
    parts = [term.sum(-1) for term in terms]
    size = torch.stack([term.abs().sum(-1) for term in terms]).sum(0).max()
    return torch.stack(parts).sum(0), float(size)


def _ratio(model: nn.Module, program: Any, x: Tensor) -> float:
    """CPU time of forward and relevance by attnlrp in that of forward and autograd, in turns."""
    weights = torch.ones_like(program.forward(x).outputs)

    def ours() -> object:
        state = program.forward(x)
        return _explained(program, state, (weights * state.outputs)[None], "attnlrp", ledger=False)

    pairs = [(_timed(ours), _timed(lambda: autograd(model, x, weights))) for _ in range(TIMES)]
    return min(mine for mine, _ in pairs) / min(theirs for _, theirs in pairs)


def _timed(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _apart(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max())
