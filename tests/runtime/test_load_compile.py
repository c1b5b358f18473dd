"""Programs under torch.compile: no graph break, the same results, each shape compiled once."""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.program.loading import load_program
from lrpc.runtime.calls import Compiled
from tests.support.models import Sampler
from tests.support.programs import Programs, difference, noise
from tests.support.tiny import tiny


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Counting:
    """A backend that keeps the graphs that it is handed, and runs them as they are."""

    def __init__(self) -> None:
        self.graphs: list[Any] = []

    def __call__(self, graph: Any, example: Any) -> Callable[..., Any]:
        self.graphs.append(graph)
        run: Callable[..., Any] = graph.forward
        return run


def counting(program: Any) -> Counting:
    """Let `program` compile with a backend that counts."""
    backend = Counting()
    program.calls = Compiled(backend)
    return backend


def again(program: Any) -> Any:
    """The same program, loaded anew from its directory."""
    return load_program(program.directory, "cpu", compile=True)


class Layers(nn.Module):
    """Two deformable attentions with residuals: tokens [B, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([Sampler(2), Sampler(4)])
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x)
        return x


X = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(1))
SEEDS = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def plain() -> Any:
    return lrpc.compile(Layers().eval(), (X,))


@pytest.fixture(scope="module")
def small() -> Any:
    model, example = tiny()
    return lrpc.compile(model, (example,), read={"block": "norm2"})


def test_each_function_is_one_graph(small: Any) -> None:
    program, example = again(small), tiny()[1]
    backend = counting(program)
    state = program.forward(example)
    assert len(backend.graphs) == 1
    for _ in range(2):
        program.relevance(state, at=[(0,), (3,)])
        assert len(backend.graphs) == 2
    program.relevance(state, at=[(0,), (3,)], ledger=True)
    assert len(backend.graphs) == 3
    program.relevance(state, at=[(0,), (3,)], read=["block"])
    assert len(backend.graphs) == 4
    assert len(list(backend.graphs[3].graph.nodes)) < len(list(backend.graphs[1].graph.nodes)) / 2
    program.forward(example.repeat(2, 1, 1, 1))
    assert len(backend.graphs) == 5


def test_results_are_equal(small: Any) -> None:
    program, example = again(small), tiny()[1]
    counting(program)
    expected = small.relevance(small.forward(example), at=[(0,), (3,)], ledger=True)
    found = program.relevance(program.forward(example), at=[(0,), (3,)], ledger=True)
    assert torch.equal(found.input, expected.input)
    assert torch.equal(found.layers["block"], expected.layers["block"])
    assert [row[:3] for row in found.ledger.rows] == [row[:3] for row in expected.ledger.rows]
    assert torch.equal(found.ledger.closure, expected.ledger.closure)


def test_more_shapes_than_torch_keeps_by_itself() -> None:
    model, example = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval(), X[:, 0, :4]
    program = again(lrpc.compile(model, (example,), read={"block": "0"}))
    backend = counting(program)
    before = torch._dynamo.config.recompile_limit
    state = program.forward(example)
    for count in range(1, 9):
        for places in (["block"], ["block", "input.input"]):
            program.relevance(state, at=[(0,)] * count, read=places)
    assert len(backend.graphs) == 17 > 2 * before
    assert torch._dynamo.config.recompile_limit == before


def test_what_samplings_keep(plain: Any) -> None:
    program = again(plain)
    backend = counting(program)
    reference, state = plain.forward(X), program.forward(X)
    assert torch.equal(state.outputs, reference.outputs)
    kept = [sorted(part) for part in state.saved.values()]
    for compiled in (2, 3, 3):  # the second call finds the entries by row, and sorts no more
        found = program.relevance(state, seeds=SEEDS)
        assert torch.equal(found.input, plain.relevance(reference, seeds=SEEDS).input)
        assert len(backend.graphs) == compiled
    sorts = [sum(n.target is torch.sort for n in g.graph.nodes) for g in backend.graphs]
    assert sorts == [0, 2, 0]
    assert kept != [sorted(part) for part in state.saved.values()]
    assert all(
        part.keys() == expected.keys()
        for part, expected in zip(state.saved.values(), reference.saved.values(), strict=True)
    )


@pytest.mark.slow
def test_the_digits_program_has_no_graph_break(programs: Programs) -> None:
    plain: Any = programs.digits()
    program: Any = load_program(plain.directory, "cpu", compile=True)
    backend = counting(program)
    images = noise(1, 160, 160).float()
    reference, state = plain.forward(images), program.forward(images)
    assert torch.equal(state.outputs["pred_masks"], reference.outputs["pred_masks"])
    expected = plain.relevance(reference, "class_logit", at=[(0, 5)], read=["input"])
    found = program.relevance(state, "class_logit", at=[(0, 5)], read=["input"])
    assert torch.equal(found.input, expected.input)
    assert len(backend.graphs) == 2


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own modules
@pytest.mark.slow
def test_compiled_code_computes_the_same(plain: Any) -> None:
    program = again(plain)
    reference, state = plain.forward(X), program.forward(X)
    assert difference(state.outputs, reference.outputs) < 1e-5
    expected, found = plain.relevance(reference, seeds=SEEDS), program.relevance(state, seeds=SEEDS)
    assert difference(found.input, expected.input) < 1e-5


def test_a_compiled_program_has_its_module_while_it_lives(small: Any) -> None:
    before = set(sys.modules)
    programs = [again(small) for _ in range(2)]
    new = set(sys.modules) - before
    assert len(new) == 2
    assert {sys.modules[n].__file__ for n in new} == {str(Path(small.directory) / "program.py")}
    programs.pop()
    gc.collect()
    assert len(set(sys.modules) - before) == 1
    programs.pop()
    gc.collect()
    assert set(sys.modules) == before


def test_from_python() -> None:
    model, example = tiny()
    program: Any = lrpc.compile(model, (example,), compile=True)
    assert isinstance(program.calls, program.interface.forward.__globals__["Compiled"])
