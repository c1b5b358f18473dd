"""Every row of the lowering tables: what comes out equals the model, for any batch size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrpc.frontend import Imported, import_model
from lrpc.ir.interpreter import interpret
from lrpc.ir.parser import parse_graph
from lrpc.ir.printer import print_graph
from lrpc.ir.verifier import verify
from lrpc.runtime.results import rebuild
from tests.support.models import IMAGE, SIGNAL, TENSOR, TOKENS, Apply


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def disturbed(model: nn.Module) -> nn.Module:
    """`model` in float64, with no weight or statistic at a value that hides mistakes."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand(tensor.shape, generator=generator))
    return model.double()


def tensors_of(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree
    return [x for part in parts for x in tensors_of(part)]


def run(imported: Imported, **inputs: Tensor) -> Any:
    found = interpret(imported.module.graph, imported.module.tensors, inputs)
    return rebuild(imported.structure, found)


def check(model: nn.Module, shape: tuple[int, ...]) -> Imported:
    """Import on one batch; compare on batches of 1, 2 and 5 with other content."""
    model = disturbed(model)
    imported = import_model(model, {model_input(model): random(2, *shape)})
    graph = verify(imported.module.graph)
    assert parse_graph(print_graph(graph)) == graph
    model.eval()
    for size in (1, 2, 5):
        x = torch.randn(size, *shape, generator=torch.Generator().manual_seed(size)).double()
        with torch.no_grad():
            expected = tensors_of(model(x.clone()))
        found = tensors_of(run(imported, **{model_input(model): x}))
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    return imported


def model_input(model: nn.Module) -> str:
    import inspect

    return next(iter(inspect.signature(model.forward).parameters))


@pytest.mark.parametrize("name", TENSOR)
def test_tensor_rows(name: str) -> None:
    check(Apply(TENSOR[name]), (4, 6))


@pytest.mark.parametrize("name", IMAGE)
def test_image_rows(name: str) -> None:
    check(IMAGE[name](), (4, 8, 12))


@pytest.mark.parametrize("name", SIGNAL)
def test_signal_rows(name: str) -> None:
    check(SIGNAL[name](), (4, 12))


@pytest.mark.parametrize("name", TOKENS)
def test_token_rows(name: str) -> None:
    check(TOKENS[name](), (8, 8))
