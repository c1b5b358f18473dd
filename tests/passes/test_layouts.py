"""Layouts say which entry of the source is where, as the operations on numbered entries do."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from lrpc.ir.builder import Builder
from lrpc.ir.graph import Node, Value
from lrpc.ir.interpreter import run_node
from lrpc.ir.types import Dim, Sym, TensorType
from passes.layouts import Cut, Layout, Part

BATCH = 5


def number(dim: Dim) -> int:
    return dim.at({"B": BATCH, "K": 1}) if isinstance(dim, Sym) else dim


def unit(part: Part) -> tuple[int, int]:
    """The axis of the source that a part is of, and how far apart its places are there."""
    step, axis = number(part.step), part.axis
    while isinstance(axis, Cut):
        step, axis = step * number(axis.of.step), axis.of.axis
    assert isinstance(axis, int)
    return axis, step


def entries(layout: Layout, source: tuple[int, ...]) -> Tensor:
    """The number of the source's entry at every place."""
    strides = torch.empty(source, device="meta").stride()
    found = torch.zeros(())
    for cut in layout.cuts:
        axis, step = unit(cut.of)
        found = found + cut.start * step * strides[axis]
    for dim in layout.dims:
        places = torch.zeros(1)
        for part in dim:
            axis, step = unit(part)
            own = torch.arange(number(part.extent)) * step * strides[axis]
            places = (places[:, None] + own).flatten()
        found = found[..., None] + places
    return found.long()


def factors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


def moved(x: Value, builder: Builder, pick: random.Random) -> Value:
    """A random operation: axes joined, split, reordered or cut."""
    shape, rank = x.type.shape, x.type.rank
    axis = pick.randrange(rank)
    match pick.randrange(4):
        case 0 if rank > 1:
            at = pick.randrange(rank - 1)
            joined = shape[at] * shape[at + 1]
            return builder.one("reshape", x, shape=(*shape[:at], joined, *shape[at + 2 :]))
        case 1 if isinstance(size := shape[axis], int) and rank < 7:
            k = pick.choice(factors(size))
            parts = (k, size // k)
            return builder.one("reshape", x, shape=(*shape[:axis], *parts, *shape[axis + 1 :]))
        case 2 if isinstance(size := shape[axis], int) and size > 1:
            start = pick.randrange(size)
            stop = pick.randint(start + 1, size)
            return builder.one("slice", x, dim=axis - rank, start=start, stop=stop, step=1)
    return builder.one("permute", x, dims=tuple(pick.sample(range(rank), rank)))


@pytest.mark.parametrize("seed", range(40))
def test_layouts_follow_the_entries(seed: int) -> None:
    pick = random.Random(seed)
    x = Value("x", TensorType("i64", (Sym(1, 1), 6, 4, 3)))
    builder = Builder({}, taken=["x"])
    source = x.type.sized({"B": BATCH})
    held = torch.arange(BATCH * 72).reshape(source)
    layout, followed = Layout.of(x.type.shape), 0
    for _ in range(12):
        x = moved(x, builder, pick)
        node: Node = builder.nodes[-1]
        (held,) = run_node(node, {}, (held,), {"B": BATCH, "K": 1})
        after = layout.moved(node)
        if after is None:
            break
        layout, followed = after, followed + 1
        assert torch.equal(entries(layout, source), held)
    assert followed
