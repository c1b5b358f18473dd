"""What one expression allocates, from meta tensors, against storages counted while it really runs:
views, strides, and the most bytes held at once, byte for byte."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.backend.emission import EMISSION
from lrpc.backend.expression import render
from lrpc.backend.memory.effect import Strided, effect_of
from lrpc.backend.memory.effects import Effects
from lrpc.backend.schedule.ir import Compute
from lrpc.backend.sources import FUNCTIONS, MODULES
from lrpc.ir.graph import Node
from lrpc.ir.ops import TABLE, Trait
from lrpc.ir.types import DTYPES, TensorType
from tests.ir.test_optable import EMITTED, POSITIVE, label, limit_of
from tests.support.op_samples import Sample
from tests.support.storage import Tracker


def tensor(kind: TensorType, sizes: dict[str, int], limit: int, positive: bool) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(str(kind).encode()))
    shape, dtype = kind.sized(sizes), DTYPES[kind.dtype]
    if not kind.is_float:
        high = 2 if dtype == torch.bool else limit
        return torch.randint(high, shape, generator=generator).to(dtype)
    values = torch.randn(shape, generator=generator).to(dtype)
    return values.abs() if positive else values


def really(
    node: Node,
    values: list[Tensor],
    weights: dict[str, Tensor],
    sizes: dict[str, int],
    over: int | None = None,
) -> tuple[list[Tensor], int]:
    """Results of the emitted text, and the most bytes that it held."""
    names = {f"x{i}": value for i, value in enumerate(values)}
    text = render(node, list(names), lambda name: f"w[{name!r}]", over=over)
    scope: dict[str, Any] = {"torch": torch, "F": F, "w": weights}
    for module in MODULES:
        scope |= {k: v for k, v in vars(module).items() if k in FUNCTIONS}
    device = {"device": torch.device("cpu")}
    with torch.no_grad(), Tracker() as tracker:
        made = eval(text, scope, {**names, **sizes, **device})
    return list(made) if isinstance(made, (list, tuple)) else [made], tracker.peak


def step_of(node: Node) -> Compute:
    """The statement for a node."""
    return Compute(node.op, node.inputs, node.outputs, node.attrs)


def owner(result: Tensor, values: list[Tensor]) -> int | None:
    place = result.untyped_storage().data_ptr()
    owners = [i for i, v in enumerate(values) if v.untyped_storage().data_ptr() == place]
    return owners[0] if owners else None


@pytest.mark.parametrize("sizes", [{"B": 2, "K": 3}, {"B": 1, "K": 1}], ids=["many", "one"])
@pytest.mark.parametrize("sample", EMITTED, ids=label)
def test_every_op_does_what_its_meta_run_says(sample: Sample, sizes: dict[str, int]) -> None:
    graph = sample.graph()
    (node,) = graph.nodes
    positive, limit = sample.op in POSITIVE, limit_of(node) if node.inputs else 0
    values = [tensor(v.type, sizes, limit, positive) for v in graph.inputs]
    weights = {name: tensor(kind, sizes, 0, positive) for name, kind in graph.weights}
    results, peak = really(node, values, weights, sizes)
    given = [Strided.of(v) for v in values]
    layouts = {name: Strided.of(weight) for name, weight in weights.items()}
    found = Effects().of(step_of(node), given, "", layouts, sizes)
    assert [r.kind for r in found.results] == [Strided.of(r) for r in results]
    assert [r.shares for r in found.results] == [owner(r, values) for r in results]
    assert found.most == peak
    kept = {r.untyped_storage().data_ptr(): r.untyped_storage().nbytes() for r in results}
    held = [*values, *weights.values()]
    own = sum(size for place, size in kept.items() if place not in places(held))
    assert sum(found.new) == own


OVER = [
    pytest.param(sample, operand, id=f"{label(sample)}-{operand}")
    for sample in EMITTED
    for operand in range(len(EMISSION[sample.op].over))
    if sample.graph().nodes[0].inputs[operand].type == sample.graph().nodes[0].out.type
]


@pytest.mark.parametrize(("sample", "operand"), OVER)
def test_what_is_written_over_an_operand(sample: Sample, operand: int) -> None:
    """It is the same to the bit, lies where the operand lay, and the meta run says so."""
    (node,) = sample.graph().nodes
    sizes, positive = {"B": 2, "K": 3}, sample.op in POSITIVE
    values = [tensor(v.type, sizes, 2, positive) for v in node.inputs]
    (wanted,), most = really(node, [v.clone() for v in values], {}, sizes)
    (found,), peak = really(node, values, {}, sizes, operand)
    assert torch.equal(found, wanted)
    assert found.dtype == wanted.dtype
    assert owner(found, values) == operand
    given = [Strided.of(v) for v in values]
    said = Effects().of(step_of(node), given, "", {}, sizes, over=operand)
    assert (said.results[0].shares, said.new, said.most) == (operand, (), peak)
    assert peak < most


@pytest.mark.parametrize("sample", EMITTED, ids=label)
def test_results_have_the_memory_that_rows_say(sample: Sample) -> None:
    """Nothing that ALLOCATES shares memory with what it reads, however small its operands are."""
    if not TABLE[sample.op].has(Trait.ALLOCATES):
        return
    (node,) = sample.graph().nodes
    sizes, positive = {"B": 1, "K": 1}, sample.op in POSITIVE
    values = [tensor(v.type, sizes, limit_of(node), positive) for v in node.inputs]
    weights = {n: tensor(kind, sizes, 0, positive) for n, kind in sample.graph().weights}
    results, _ = really(node, values, weights, sizes)
    held = places([*values, *weights.values()])
    assert all(r.untyped_storage().data_ptr() not in held for r in results)


def places(tensors: list[Tensor]) -> set[int]:
    return {t.untyped_storage().data_ptr() for t in tensors}


def test_what_the_state_keeps_is_made_once() -> None:
    """Rows and coefficients by the forward pass, the sorted points by the first transpose."""
    levels = ((3, 4), (2, 2))
    value, loc = kind_of(2, 16, 2, 8), kind_of(2, 5, 2, 2, 3, 2)
    weight, g = kind_of(2, 5, 2, 2, 3), kind_of(4, 2, 5, 16)
    sample = effect_of(f'deform_sample(x[0], x[1], x[2], {levels}, k, "s")', (value, loc, weight))
    ((name, (first, coefficient)),) = sample.kept
    points = 2 * 5 * 2 * 2 * 3
    kept_bytes = (first.kind.bytes, coefficient.kind.bytes)
    assert (name, *kept_bytes) == ("s.corners", 4 * points, 16 * points)
    assert sum(sample.new) == 2 * 5 * 16 * 4 + 20 * points
    kept = tuple((name, tuple(part.kind for part in parts)) for name, parts in sample.kept)
    splat = f'deform_splat(x[0], x[1], x[2], {levels}, k, "s")'
    once = effect_of(splat, (g, loc, weight), kept=kept)
    ((table, sorted_points),) = once.kept
    assert table == "s.by_row"
    rows = 2 * 16 * 2 + 1
    assert [part.kind.bytes for part in sorted_points] == [4 * rows, 4 * points, 16 * points]
    own = tuple((name, tuple(part.kind for part in parts)) for name, parts in once.kept)
    further = effect_of(splat, (g, loc, weight), kept=(*kept, *own))
    assert further.kept == ()
    assert further.most < once.most


def kind_of(*shape: int, permuted: tuple[int, ...] | None = None) -> Strided:
    made = torch.empty(shape, device="meta")
    return Strided.of(made if permuted is None else made.permute(permuted))


def test_operands_that_cannot_be_viewed_are_copied() -> None:
    """A batched product of [K, B, …] by [B, …] repeats the second for every seed, unless K is 1;
    a permuted value is copied to be reshaped."""
    second = kind_of(2, 6, 7)
    many = effect_of("x[0] @ x[1]", (kind_of(3, 2, 5, 6), second))
    one = effect_of("x[0] @ x[1]", (kind_of(1, 2, 5, 6), second))
    assert many.workspace == 3 * 2 * 6 * 7 * 4
    assert one.workspace == 0
    turned = effect_of("x[0].reshape(12, 5)", (kind_of(3, 5, 4, permuted=(0, 2, 1)),))
    plain = effect_of("x[0].reshape(12, 5)", (kind_of(3, 4, 5),))
    assert turned.new == (240,)
    assert plain.results[0].shares == 0
    assert plain.most == 0


def test_a_view_of_a_new_storage_counts_whole() -> None:
    found = effect_of("(x[0] * 2)[:1]", (kind_of(8, 4),))
    assert found.new == (128,)
    assert found.results[0].kind.bytes == 16


@pytest.mark.parametrize("text", ["gelu_ratio(x[0], 'none')", "sigmoid_ratio(x[0])"])
def test_quotients_hold_segments_alone(text: str) -> None:
    """Beside their result they hold what they compute for a segment of 2^18 entries."""
    x = torch.randn(4, 1 << 18)
    effect = effect_of(text, (Strided.of(x),))
    assert effect.new == (x.nbytes,)
    assert effect.workspace <= 8 * (1 << 20)
    scope: dict[str, Any] = {"x": [x]}
    for module in MODULES:
        scope |= {k: v for k, v in vars(module).items() if k in FUNCTIONS}
    with torch.no_grad(), Tracker() as tracker:
        made = eval(text, scope)
    assert tracker.peak == effect.most
    assert made.shape == x.shape
