"""Properties of random graphs under random rules, by the reference interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from lrpc.ir.graph import Module, Value
from lrpc.ir.interpreter import interpret, run_node, sizes_of
from lrpc.ir.parser import parse_graph
from lrpc.ir.printer import print_graph
from lrpc.ir.verifier import verify
from lrpc.program.build import annotate
from lrpc.rules import CATALOGUE
from lrpc.rules.composite import COMPOSITES
from passes import CLEANING, annotating
from tests.support.joint_runs import lowered, run_joint
from tests.support.random_checks import (
    MISSED,
    annotated,
    examples,
    held,
    ledger_closes,
    run,
    start,
    with_rules,
)
from tests.support.random_graphs import drawn
from tests.support.sketch import batch_axis

# Rules that rescale to what arrived, or take magnitudes: homogeneous in R, but not additive.
NORMS = ("layer_norm", "rms_norm", "group_norm")
NOT_LINEAR = {(op, rule) for op in NORMS for rule in ("abs_grad_xmu", "taylor")}
NOT_LINEAR |= {("deform_sample", "splat_value")}


def image(x: Tensor, value: Value, number: int, seeds: int = 0) -> Tensor:
    """One image of a batch of three, along the batch axis of `value` behind the seeds' axis."""
    axis = seeds + batch_axis(value.type.shape)
    size = x.shape[axis] // 3
    return x.narrow(axis, number * size, size)


def differentiable(module: Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every value of the graph, with the model's own detaches."""
    values, sizes = dict(inputs), sizes_of(module.graph, inputs)
    for node in module.graph.nodes:
        made = run_node(node, module.tensors, tuple(values[v.name] for v in node.inputs), sizes)
        made = tuple(t.detach() for t in made) if node.op == "detach" else made
        values.update((v.name, t) for v, t in zip(node.outputs, made, strict=True))
    return values


def test_every_rule_of_every_operation_accounts_for_all_relevance() -> None:
    """Fails, too, where a rule is added to an operation that tests/support/random_ops.py draws
    nothing of."""
    assert set(CATALOGUE) - held() - MISSED == set()


@examples(100)
@given(st.data())
def test_composites_account_for_all_relevance(data: Any) -> None:
    drawing = data.draw(drawn())
    ledger_closes(data, drawing, annotated(data, drawing.module))


@examples(60)
@given(st.data())
def test_every_pass_leaves_a_graph_that_verifies_prints_and_parses(data: Any) -> None:
    drawing = data.draw(drawn())
    seen: list[str] = []

    def watch(name: str, module: Module) -> None:
        seen.append(name)
        assert parse_graph(print_graph(verify(module.graph, name))) == module.graph, name
        assert module.tensors.keys() == module.graph.weight_types.keys()

    watch("draw", drawing.module)
    values = interpret(drawing.module.graph, drawing.module.tensors, drawing.inputs(2))
    module = annotated(data, drawing.module, watch)
    after = interpret(module.graph, module.tensors, drawing.inputs(2))
    assert after.keys() == values.keys()
    for name, value in values.items():  # some are 0 up to rounding
        assert float((after[name] - value).abs().max()) < 1e-10 * max(1.0, float(value.abs().max()))
    for ledger in (False, True):
        lowered(module, start(data, module), ledger, clean=True, watch=watch)
    assert len(seen) == 1 + len(annotating(COMPOSITES["epsilon"])) + 2 * (1 + len(CLEANING))


@examples(60)
@given(st.data())
def test_cleaning_and_booking_change_no_relevance(data: Any) -> None:
    drawing = data.draw(drawn())
    module = annotated(data, drawing.module)
    target = start(data, module)
    inputs, values = run(module, drawing, 2)
    seed = drawing.starts((2, *values[module.graph.value_at[target].name].shape))
    first, *others = (
        run_joint(lowered(module, target, ledger, clean), inputs, seed)
        for ledger in (True, False)
        for clean in (False, True)
    )
    for other in others:
        assert other.places.keys() == first.places.keys()
        for place, relevance in other.places.items():
            apart = (relevance - first.places[place]).abs().max()
            assert float(apart) <= 1e-9 * first.largest, place


@examples(60)
@given(st.data())
def test_relevance_is_linear_in_its_seeds(data: Any) -> None:
    drawing = data.draw(drawn())
    module = annotated(data, drawing.module)
    assume(not with_rules(module.graph) & NOT_LINEAR)
    target = start(data, module)
    inputs, values = run(module, drawing, 2)
    joint = lowered(module, target, ledger=True)
    s = drawing.starts((2, *values[module.graph.value_at[target].name].shape))
    both, mixed = run_joint(joint, inputs, s), run_joint(joint, inputs, (2.5 * s[0] - s[1])[None])
    for place, relevance in mixed.places.items():
        expected = 2.5 * both.places[place][:1] - both.places[place][1:]
        assert float((relevance - expected).abs().max()) <= 1e-9 * both.largest, place
    for (*_, amount), (*_, alone) in zip(both.rows, mixed.rows, strict=True):
        apart = (alone - (2.5 * amount[:1] - amount[1:])).abs().max()
        assert float(apart) <= 1e-9 * both.largest


@examples(60)
@given(st.data())
def test_no_image_and_no_seed_depends_on_the_others(data: Any) -> None:
    drawing = data.draw(drawn())
    module = annotated(data, drawing.module)
    target = start(data, module)
    inputs, values = run(module, drawing, 3)
    joint = lowered(module, target, ledger=True)
    seed = drawing.starts((3, *values[module.graph.value_at[target].name].shape))
    together = run_joint(joint, inputs, seed)
    number, each = data.draw(st.integers(0, 2), "image"), data.draw(st.integers(0, 2), "seed")
    one = {v.name: image(inputs[v.name], v, number) for v in module.graph.inputs}
    alone = run_joint(
        joint, one, image(seed, module.graph.value_at[target], number, 1)[each : each + 1]
    )
    for place, relevance in together.places.items():
        expected = image(relevance, module.graph.value_at[place], number, 1)[each : each + 1]
        apart = (alone.places[place] - expected).abs().max()
        assert float(apart) <= 1e-9 * together.largest, place
    for (node, kind, amount), (*_, own) in zip(together.rows, alone.rows, strict=True):
        expected = amount[each, number if amount.shape[1] > 1 else 0]
        assert float((own - expected).abs().max()) <= 1e-9 * together.largest, (node, kind)


@examples(60)
@given(st.data())
def test_gradient_input_is_the_input_times_the_gradient(data: Any) -> None:
    drawing = data.draw(drawn())
    module = annotate(drawing.module, [COMPOSITES["gradient_input"]])[0].module
    target = start(data, module)
    inputs, values = run(module, drawing, 2)
    seed = drawing.starts((1, *values[module.graph.value_at[target].name].shape))
    found = run_joint(lowered(module, target, ledger=False), inputs, seed)
    leaves = {k: x.requires_grad_() for k, x in inputs.items() if x.is_floating_point()}
    output = differentiable(module, inputs)[module.graph.value_at[target].name]
    assume(output.requires_grad)
    gradients = torch.autograd.grad(
        output, list(leaves.values()), seed[0], allow_unused=True, materialize_grads=True
    )
    for name, gradient in zip(leaves, gradients, strict=True):
        relevance = found.places.get(f"input.{name}", torch.zeros(1, 1))
        expected = (gradient * inputs[name]).detach()
        assert float((relevance[0] - expected).abs().max()) <= 1e-9 * found.largest, name
