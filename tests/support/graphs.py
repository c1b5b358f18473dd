"""Modules written as IR text, and what passes are held to: text, values, roles."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import torch
from torch import Tensor

from lrpc.ir.graph import Graph, Module
from lrpc.ir.interpreter import interpret
from lrpc.ir.parser import parse_graph
from lrpc.ir.printer import print_graph
from lrpc.ir.types import DTYPES, TensorType
from lrpc.ir.verifier import verify
from passes import Pass


def module(text: str, **given: Tensor) -> Module:
    """The graph of `text`, with random weights where none are `given` (`.` in names as `_`)."""
    graph = parse_graph(textwrap.dedent(text).strip() + "\n")
    torch.manual_seed(0)
    tensors = {
        name: given.get(name.replace(".", "_"), random(kind)) for name, kind in graph.weights
    }
    return Module(graph, tensors)


def random(kind: TensorType, batch: int = 2, seeds: int = 3) -> Tensor:
    """Values of a type: normal, or whole numbers in [0, 2)."""
    shape = kind.sized({"B": batch, "K": seeds})
    if kind.is_float:
        return torch.randn(shape, dtype=DTYPES[kind.dtype])
    return torch.randint(0, 2, shape).to(DTYPES[kind.dtype])


def rewritten(step: Pass, before: Module) -> Module:
    """What `step` makes of `before`: verified, equal after printing and parsing."""
    after = step.run(before)
    verify(after.graph, step.name)
    assert parse_graph(print_graph(after.graph)) == after.graph
    assert after.tensors.keys() == after.graph.weight_types.keys()
    return after


def check_text(step: Pass, before: str, after: str) -> None:
    """`step` rewrites the text `before` to the text `after`."""
    found = print_graph(rewritten(step, module(before)).graph)
    assert found == textwrap.dedent(after).strip() + "\n"


def check_values(before: Module, after: Module, inputs: Mapping[str, Tensor] | None = None) -> None:
    """Both modules give the same outputs, to 1e-12, for random inputs."""
    torch.manual_seed(1)
    given = {v.name: random(v.type) for v in before.graph.inputs} | dict(inputs or {})
    expected = interpret(before.graph, before.tensors, given)
    found = interpret(after.graph, after.tensors, given)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12)


def roles(graph: Graph) -> dict[str, str]:
    """The role of every node that has one, by the name of its first value."""
    return {n.outputs[0].name: n.role for n in graph.nodes if n.role}


def operands(graph: Graph, name: str) -> tuple[str, ...]:
    """The names of the inputs of the node that makes `name`."""
    return tuple(v.name for v in graph.producers[name].inputs)
