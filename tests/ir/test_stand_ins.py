"""B and K stay apart from every extent of a model, whatever sizes stand for them on the way."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from torch import nn

import lrpc
from lrpc.errors import IRError
from lrpc.ir.ops import TABLE, infer
from lrpc.ir.parser import parse_graph
from lrpc.ir.stand_ins import NotAProduct, points, solve
from lrpc.ir.types import B, Dim, K, Sym, TensorType

USUAL = [size for point in islice(points([]), 3) for size in point.values()]
FIRST, SECOND = USUAL[0], USUAL[2]
WIDTHS = [*USUAL, 2 * FIRST, FIRST + SECOND, FIRST * 3, FIRST - 4, 4 * SECOND]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_layer_as_wide_as_a_stand_in(width: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 1))
    x = torch.randn(3, 2)
    program = lrpc.compile(model, (x,), composite="gradient_input", seeds=1)
    state = program.forward(x)
    torch.testing.assert_close(state.outputs, model(x))
    leaf = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(leaf).sum(), leaf)
    found = program.relevance(state, "output", seeds=state.outputs[None])
    torch.testing.assert_close(found.input[0], x * gradient, rtol=1e-4, atol=1e-6)


def typed(op: str, *shapes: tuple[Dim, ...], **attrs: object) -> tuple[Dim, ...]:
    inputs = tuple(TensorType("f32", shape) for shape in shapes)
    (found,) = infer(TABLE[op], inputs, tuple(attrs.items()), ())  # type: ignore[arg-type]
    return found.shape


@pytest.mark.parametrize("width", WIDTHS)
def test_extents_keep_symbols_and_numbers_apart(width: int) -> None:
    assert typed("relu", (B, width)) == (B, width)
    assert typed("relu", (K, B, width, B * K)) == (K, B, width, B * K)
    assert typed("reshape", (B, width, 4), shape=(-1, 4)) == (Sym(width, 1), 4)
    assert typed("reshape", (K, B, width), shape=(-1,)) == (Sym(width, 1, 1),)
    assert typed("cat", (B, 3), (B, 3), dim=0) == (Sym(2, 1), 3)
    assert typed("cat", (B, width), (B, 5), dim=1) == (B, width + 5)
    assert typed("matmul", (width, B), (B, width)) == (width, width)
    assert typed("relu", (width, FIRST, SECOND)) == (width, FIRST, SECOND)


@pytest.mark.parametrize(
    "shapes",
    [
        ((B, 3), (5, 3)),
        ((B, 3), (FIRST, 3)),
        ((B, 3), (K, 3)),
        ((B * B, 3), (FIRST * SECOND, 3)),  # (FIRST + SECOND)·B at two points
        ((B * B, 3), (USUAL[2] * USUAL[4], 3)),
    ],
)
def test_an_extent_that_is_no_product_is_refused(shapes: tuple[tuple[Dim, ...], ...]) -> None:
    with pytest.raises(IRError, match="an extent of its result is no product of an integer, B and"):
        typed("cat", *shapes, dim=0)


def test_a_stand_in_divides_no_number_of_the_operation() -> None:
    for point in islice(points([6 * FIRST, SECOND, 0, -USUAL[1]]), 3):
        assert not {FIRST, SECOND, USUAL[1]} & set(point.values())


def test_three_points_tell_a_sum_from_a_product_that_two_do_not() -> None:
    sizes = list(islice(points([]), 3))
    b = [point["B"] for point in sizes]
    sums = [n * n + b[0] * b[1] for n in b]  # B² + b₀·b₁
    assert solve(sums[:2], sizes[:2]) == Sym(b[0] + b[1], 1)
    with pytest.raises(NotAProduct):
        solve(sums, sizes)


def test_errors_speak_of_b_and_k() -> None:
    text = "graph @f(%x: f32[K,B,4], %y: f32[B,3]) { %z: f32[B] = matmul(%x, %y) return %z }"
    with pytest.raises(IRError) as caught:
        parse_graph(text)
    assert str(FIRST) not in str(caught.value)
    assert "op matmul does not fit inputs f32[K,B,4], f32[B,3]: " in str(caught.value)
