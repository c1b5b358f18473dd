"""Each trait of the op table, against the reference semantics of the operations that have it."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lrpc.backend.emission import EMISSION
from lrpc.ir.graph import Node
from lrpc.ir.interpreter import run_node
from lrpc.ir.ops import TABLE, Family, Trait, View
from tests.ir.test_optable import POSITIVE, SIZES, emitted, filled, in_double, limit_of
from tests.support.op_samples import SAMPLES, Sample

RANDOM = range(4)  # seeds
#: Kept whole until a pass expands them, and effects, which have statements of their own.
UNEMITTED = (Family.ATTENTION, Family.EFFECT)


def given(sample: Sample, seed: int = 0) -> tuple[Node, list[Tensor], dict[str, Tensor]]:
    """A node in float64, random operands and weights."""
    graph = in_double(sample)
    (node,) = graph.nodes
    generator = torch.Generator().manual_seed(zlib.crc32(sample.op.encode()) + seed)
    positive, limit = sample.op in POSITIVE, limit_of(node) if node.inputs else 0
    values = [filled(v.type, limit, positive, generator) for v in graph.inputs]
    return node, values, {name: filled(t, 0, positive, generator) for name, t in graph.weights}


def run(node: Node, values: list[Tensor], weights: dict[str, Tensor]) -> tuple[Tensor, ...]:
    return run_node(node, weights, tuple(values), SIZES)


def having(*traits: Trait) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Runs a test for each sample of an operation that has one of `traits`."""
    found = [s for s in SAMPLES if any(TABLE[s.op].has(trait) for trait in traits)]
    return pytest.mark.parametrize("sample", found, ids=lambda s: s.op)


@having(Trait.COMMUTES)
def test_operands_change_places(sample: Sample) -> None:
    node, (a, b), weights = given(sample)
    assert torch.equal(run(node, [a, b], weights)[0], run(node, [b, a], weights)[0])


@having(Trait.ELEMENTWISE)
def test_an_entry_depends_on_the_same_entry_alone(sample: Sample) -> None:
    node, values, weights = given(sample)
    before = run(node, values, weights)[0]
    for i, value in enumerate(values):
        other, mark = value.clone(), torch.zeros_like(value, dtype=torch.bool)
        place = value.numel() // 2
        other.view(-1)[place] = 1 - other.view(-1)[place] * 2 if value.is_floating_point() else 1
        mark.view(-1)[place] = True
        after = run(node, [*values[:i], other, *values[i + 1 :]], weights)[0]
        same = torch.isclose(before, after, rtol=0, atol=0, equal_nan=True)
        assert not (~same & ~mark.expand_as(same)).any(), f"operand {i}"


def test_elementwise_tests_can_fail() -> None:
    sample = next(s for s in SAMPLES if s.op == "softmax")
    with pytest.raises(AssertionError):
        test_an_entry_depends_on_the_same_entry_alone(sample)


@having(Trait.EXACT)
def test_narrow_operands_give_the_same_numbers(sample: Sample) -> None:
    node, (first, *rest), weights = given(sample)
    narrow = first.bfloat16()
    (low,), (high,) = (run(node, [x, *rest], weights) for x in (narrow, narrow.double()))
    assert low.dtype == torch.bfloat16
    assert torch.equal(low.double(), high)
    assert torch.isin(low.float(), torch.cat([narrow.float().flatten(), torch.zeros(1)])).all()


@pytest.mark.parametrize("seed", RANDOM)
@having(Trait.KEEPS_SIGN)
def test_nothing_below_zero_comes_of_nothing_below_zero(sample: Sample, seed: int) -> None:
    node, values, weights = given(sample, seed)
    values = [v.abs() if v.is_floating_point() else v for v in values]
    assert (run(node, values, weights)[0] >= 0).all()


@pytest.mark.parametrize("seed", RANDOM)
@having(Trait.NOT_NEGATIVE, Trait.BOUNDED)
def test_results_lie_where_their_traits_say(sample: Sample, seed: int) -> None:
    node, values, weights = given(sample, seed)
    for scale in (1.0, 30.0):
        (found,) = run(node, [v * scale for v in values], weights)
        if TABLE[sample.op].has(Trait.NOT_NEGATIVE):
            assert (found >= 0).all()
        if TABLE[sample.op].has(Trait.BOUNDED):
            assert (found.abs() <= 1).all()


@having(Trait.CHOOSES)
def test_the_last_bit_of_an_operand_can_turn_a_choice(sample: Sample) -> None:
    """Of equal entries the last is raised, or lowered, by a bit: another one is picked."""
    node, (x,), weights = given(sample)
    if x.dtype == torch.bool:  # masks are choices themselves: one pixel moves a box
        one = run(node, [torch.zeros_like(x)], weights)[0]
        other = torch.zeros_like(x)
        other.view(-1)[-1] = True
        assert not torch.equal(one, run(node, [other], weights)[0])
        return
    above = torch.ones_like(x)
    above.view(-1)[-1] += torch.finfo(x.dtype).eps if x.is_floating_point() else 1

    def picked(values: Tensor) -> Tensor:
        found = run(node, [values], weights)[0]
        if not found.is_floating_point():
            return found
        values = values.clone().requires_grad_(True)
        return torch.autograd.grad(run(node, [values], weights)[0].sum(), values)[0]

    assert not torch.equal(picked(above), picked(2 - above))


@having(Trait.INVERTS)
def test_powers_can_be_negative(sample: Sample) -> None:
    x = torch.tensor([0.5, 2.0, 4.0])
    row = TABLE[sample.op]
    attrs = {"exponent": -1} if "exponent" in row.attrs else {}
    assert torch.equal(row.reference(x, **attrs), 1 / x)


@having(Trait.CHANNELS_FIRST)
def test_images_lie_along_the_first_axis(sample: Sample) -> None:
    node, (x,), weights = given(sample)
    other = x.clone()
    other[0] += 1.0
    before, after = (run(node, [v], weights)[0] for v in (x, other))
    assert torch.equal(before[1:], after[1:])
    assert not torch.equal(before[0], after[0])


@having(Trait.CHANNELS_LAST)
def test_tokens_do_not_see_each_other(sample: Sample) -> None:
    node, (x, *rest), weights = given(sample)
    other = x.clone()
    other[..., 0, :] *= torch.linspace(1, 2, x.shape[-1], dtype=x.dtype)
    before, after = (run(node, [v, *rest], weights)[0] for v in (x, other))
    assert torch.equal(before[..., 1:, :], after[..., 1:, :])
    assert not torch.equal(before[..., :1, :], after[..., :1, :])


def test_structure_joins_where_it_has_several_operands_of_its_dtype() -> None:
    def joins(sample: Sample) -> bool:
        node = sample.graph().nodes[0]
        return sum(v.type.dtype == node.out.type.dtype for v in node.inputs) > 1

    structural = [s for s in SAMPLES if TABLE[s.op].family is Family.STRUCTURAL]
    assert {s.op for s in structural if joins(s)} == {
        s.op for s in structural if TABLE[s.op].has(Trait.JOINS)
    }


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.op)
def test_dtypes_follow_the_operands_but_where_they_are_fixed(sample: Sample) -> None:
    node, values, weights = given(sample)
    if "dtype" in TABLE[node.op].attrs:
        return
    floats = {r.dtype for r in run(node, values, weights) if r.is_floating_point()}
    fixed = TABLE[sample.op].has(Trait.FIXED_DTYPE)
    assert floats <= {torch.float32 if fixed else torch.float64}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.op)
def test_families_have_the_results_that_they_say(sample: Sample) -> None:
    row, (node,) = TABLE[sample.op], sample.graph().nodes
    assert (row.family is Family.SOURCE) == (not node.inputs)
    assert (row.family is Family.EFFECT) == (not node.outputs)
    booleans = bool(node.outputs) and node.out.type.dtype == "bool"
    if row.family is not Family.SOURCE:
        assert (row.family is Family.PREDICATE) == booleans


VIEWED: dict[View, Callable[[Tensor, Tensor], bool]] = {
    View.SAME: lambda x, y: y is x,
    View.IN_ORDER: lambda x, y: y.is_contiguous() and y.numel() == x.numel(),
    View.PERMUTED: lambda x, y: not y.is_contiguous() and y.numel() == x.numel(),
    View.REPEATED: lambda x, y: 0 in y.stride() and y.numel() > x.numel(),
    View.PART: lambda x, y: y.numel() < x.numel(),
}


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.op in EMISSION], ids=lambda s: s.op)
def test_views_share_memory_and_nothing_else_does(sample: Sample) -> None:
    node, values, weights = given(sample)
    names = {v.name: value for v, value in zip(node.inputs, values, strict=True)}
    found = emitted(node, names, weights)
    results = list(found) if isinstance(found, (tuple, list)) else [found]
    held = [value for value in values if _shares(value, results)]
    view = TABLE[sample.op].view
    assert held == [] if view is None else held == values[:1]
    if view is not None:
        assert VIEWED[view](values[0], results[0])


def _shares(value: Tensor, results: list[Tensor]) -> bool:
    place = value.untyped_storage().data_ptr()
    return any(r.untyped_storage().data_ptr() == place for r in results)


CONTRACTED = [
    pytest.param(sample, operand, id=f"{sample.op}-{operand}")
    for sample in SAMPLES
    for operand in TABLE[sample.op].contracted
]


@pytest.mark.parametrize(("sample", "operand"), CONTRACTED)
def test_contractions_are_linear_in_their_operands(sample: Sample, operand: int) -> None:
    node, values, weights = given(sample)
    weights = {k: torch.zeros_like(w) if k.endswith("bias") else w for k, w in weights.items()}
    other = torch.randn(values[operand].shape, dtype=torch.float64)

    def of(x: Tensor) -> Tensor:
        return run(node, [*values[:operand], x, *values[operand + 1 :]], weights)[0]

    combined = of(2 * values[operand] - 3 * other)
    torch.testing.assert_close(combined, 2 * of(values[operand]) - 3 * of(other))


def test_operands_are_named_as_their_references_name_them() -> None:
    short = {"locations": "loc", "weights": "weight"}
    for row in TABLE.values():
        if row.operands:
            names = list(inspect.signature(row.reference).parameters)[: len(row.operands)]
            assert [short.get(name, name) for name in row.operands] == names, row.name
            assert len(row.operands) == row.arity


def test_each_operation_has_one_text() -> None:
    assert EMISSION.keys() == {n for n, row in TABLE.items() if row.family not in UNEMITTED}
    for name, emission in EMISSION.items():
        assert emission.text
        assert len(emission.over) <= (TABLE[name].arity or 0)
        assert not emission.over or TABLE[name].has(Trait.ALLOCATES), name


def test_every_trait_family_and_view_is_used() -> None:
    rows = TABLE.values()
    assert {t for row in rows for t in row.traits} == set(Trait)
    assert {row.family for row in rows} == set(Family)
    assert {row.view for row in rows} == {None, *View}
    assert not any(row.has(Trait.CHEAP | Trait.MOVABLE) for row in rows)
