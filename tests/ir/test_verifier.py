"""The verifier: every kind of violation, by its exact text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lrpc.errors import IRError
from lrpc.ir.graph import Graph, Loc, Module, Node, Value
from lrpc.ir.ops import infer
from lrpc.ir.ops.row import Op
from lrpc.ir.parser import parse_graph
from lrpc.ir.types import B, TensorType
from lrpc.ir.verifier import verify, verify_tensors

ROW, WIDE = TensorType("f32", (B, 4)), TensorType("f32", (B, 5))
X, Y, Z = Value("x", ROW), Value("y", ROW), Value("z", ROW)
HERE = Loc("layers.0", "net.py", 3)
RELU = Node("relu", (X,), (Y,), loc=HERE)
SCALE = Node("scale", (Y,), (Z,), (("by", 2.0),))
GRAPH = Graph(
    "f", (X,), (RELU, SCALE), (("output", Z),), (("w", TensorType("f32", (4, 4))),), (("m", Y),)
)
PLACE = "%y = relu (from layers.0, net.py:3)"
LINEAR = replace(RELU, op="linear", attrs=(("weight", "w"),))


def test_a_good_graph_comes_back_as_it_is() -> None:
    assert verify(GRAPH) is GRAPH


def with_first(node: Node) -> Graph:
    return GRAPH.with_nodes((node, SCALE))


VIOLATIONS = {
    "an input defined twice": (
        replace(GRAPH, inputs=(X, X)),
        "%x is defined twice, the second time by input of @f",
    ),
    "a value defined twice": (
        GRAPH.with_nodes((RELU, RELU, SCALE)),
        f"%y is defined twice, the second time by {PLACE}",
    ),
    "a value that hides an input": (
        with_first(replace(RELU, outputs=(X,))),
        "%x is defined twice, the second time by %x = relu (from layers.0, net.py:3)",
    ),
    "a value that nothing defines": (
        with_first(replace(RELU, inputs=(Value("a", ROW),))),
        f"%a is used before it is defined, by {PLACE}",
    ),
    "nodes in the wrong order": (
        GRAPH.with_nodes((SCALE, RELU)),
        "%y is used before it is defined, by %z = scale (from unknown place)",
    ),
    "a node that reads itself": (
        with_first(replace(RELU, inputs=(Y,))),
        f"%y is used before it is defined, by {PLACE}",
    ),
    "a value read as another type": (
        with_first(replace(RELU, inputs=(Value("x", WIDE),))),
        f"%x is f32[B,4] but {PLACE} reads it as f32[B,5]",
    ),
    "an op outside the table": (
        with_first(replace(RELU, op="relu66")),
        "unknown op 'relu66' at %y = relu66 (from layers.0, net.py:3)",
    ),
    "too few inputs": (
        with_first(replace(RELU, op="add")),
        "op add takes 2 inputs, got 1, at %y = add (from layers.0, net.py:3)",
    ),
    "an attribute too many": (
        with_first(replace(RELU, attrs=(("by", 1),))),
        f"op relu has no attribute 'by'; it has: none, at {PLACE}",
    ),
    "an attribute too few": (
        GRAPH.with_nodes((RELU, replace(SCALE, attrs=()))),
        "op scale misses its attribute 'by', at %z = scale (from unknown place)",
    ),
    "an attribute of the wrong kind": (
        GRAPH.with_nodes((RELU, replace(SCALE, attrs=(("by", "2"),)))),
        "op scale: attribute by='2' is not of kind number, at %z = scale (from unknown place)",
    ),
    "a weight that is not declared": (
        replace(with_first(LINEAR), weights=()),
        "weight 'w' is not declared in this graph, at %y = linear (from layers.0, net.py:3)",
    ),
    "shapes that do not fit": (
        replace(with_first(LINEAR), weights=(("w", TensorType("f32", (3, 3))),)),
        "op linear does not fit inputs f32[B,4]: ",
    ),
    "an output of another type": (
        with_first(replace(RELU, outputs=(Value("y", WIDE),))),
        f"{PLACE} yields f32[B,4], but is declared f32[B,5]",
    ),
    "an output too many": (
        with_first(replace(RELU, outputs=(Y, Z))),
        f"{PLACE} yields f32[B,4], but is declared f32[B,4], f32[B,4]",
    ),
    "a result that nothing defines": (
        replace(GRAPH, outputs=(("output", Value("q", ROW)),)),
        '%q is used before it is defined, by output "output" of @f',
    ),
    "a place of another type": (
        replace(GRAPH, places=(("m", Value("y", WIDE)),)),
        '%y is f32[B,4] but place "m" of @f reads it as f32[B,5]',
    ),
}


@pytest.mark.parametrize(("graph", "message"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_violations(graph: Graph, message: str) -> None:
    with pytest.raises(IRError) as caught:
        verify(graph)
    first = str(caught.value).split("\n")[0]
    if message.endswith(": "):  # torch's own words follow
        assert first.startswith(message)
        assert first.endswith("at %y = linear (from layers.0, net.py:3)")
    else:
        assert first == message


def test_the_pass_that_broke_the_graph_is_named() -> None:
    with pytest.raises(IRError) as caught:
        verify(GRAPH.with_nodes((SCALE, RELU)), after="mark_residual")
    assert str(caught.value) == (
        "%y is used before it is defined, by %z = scale after mark_residual (from unknown place)"
    )


def test_weights_have_extents_in_numbers_and_the_types_of_their_tensors() -> None:
    with pytest.raises(IRError) as caught:
        verify(replace(GRAPH, weights=(("w", WIDE),)))
    assert str(caught.value) == 'weight "w" is f32[B,5]; expected extents in numbers'
    for tensors, said in {
        (): "has no such tensor",
        (("w", torch.zeros(4)),): "has it as float32[4]",
        (("w", torch.zeros(4, 4).double()),): "has it as float64[4, 4]",
    }.items():
        with pytest.raises(IRError) as caught:
            verify_tensors(Module(GRAPH, dict(tensors)), "the file")
        assert str(caught.value) == f'weight "w" is declared f32[4,4], but the file {said}'
    module = Module(GRAPH, {"w": torch.zeros(4, 4)})
    assert verify_tensors(module, "the file") is module


def test_operations_of_any_number_of_inputs_take_one_at_least() -> None:
    text = "graph @g(%x: f32[B,4]) {\n  %y: f32[B,4] = cat() {dim=-1}\n  return %y\n}\n"
    with pytest.raises(IRError, match="op cat takes one input or more, got none"):
        parse_graph(text)


def test_types_of_a_node_are_inferred_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(row: Op, *args: Any) -> Any:
        asked.append(row.name)
        return infer(row, *args)

    monkeypatch.setattr("lrpc.ir.verifier.infer", counted)
    first, other = replace(LINEAR), replace(LINEAR, loc=Loc("layers.1"))
    verify(GRAPH)
    asked.clear()
    for _ in range(2):
        verify(with_first(first))
    assert asked == ["linear"]
    asked.clear()
    verify(with_first(other))  # equal but for its place: another node all the same
    assert asked == ["linear"]
    wider = (("w", TensorType("f32", (5, 4))),)
    with pytest.raises(IRError, match="yields f32"):
        verify(replace(with_first(first), weights=wider))
    with pytest.raises(IRError, match="is not declared"):
        verify(replace(with_first(first), weights=()))
