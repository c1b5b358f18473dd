"""Properties that tests hold random graphs to, and the rules that are reached on the way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lrpc.ir.graph import Graph, Module
from lrpc.ir.interpreter import interpret
from lrpc.program.build import Watch, annotate
from lrpc.rules import CATALOGUE
from lrpc.rules.composite import COMPOSITES, composite
from passes import AddPlaces
from tests.support.joint_runs import lowered, run_joint
from tests.support.random_graphs import CARRYING, AnyRule, Drawn, drawn, refused

MORE = int(os.environ.get("LRPC_RANDOM", "1"))  # times as many examples, and other ones
# What random graphs may miss: casts (to the same dtype they are dropped, those that round lie
# beyond tolerances), and `pass` on maps that seldom keep a shape.
MISSED = {("cast", "pass"), ("cast", "gradient_input")} | {
    (op, "pass") for op in ("conv2d", "conv_transpose2d", "avg_pool2d", "interpolate")
}


def examples(count: int) -> settings:
    """Settings of a test with `count` examples, the same ones each time unless LRPC_RANDOM asks
    for more."""
    return settings(
        max_examples=count * MORE,
        derandomize=MORE == 1,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def annotated(data: st.DataObject, module: Module, watch: Watch | None = None) -> Module:
    """`module` under a composite, or with a rule for each node drawn among those it has."""
    name = data.draw(st.sampled_from(["", *sorted(COMPOSITES)]), "composite")
    if not name:
        return ruled(data, module, watch)
    box = {"low": -4.0, "high": 4.0} if name == "epsilon_gamma_box" else {}
    rules = composite(name, data.draw(st.sampled_from([1e-6, 0.0, 0.1]), "ε"), **box)
    return _marked(annotate(module, [rules], watch=watch)[0].module)


def ruled(
    data: st.DataObject, module: Module, watch: Watch | None = None, wanted: str = ""
) -> Module:
    """`module` with a rule for each node drawn among those it has."""
    rules = AnyRule(data.draw, wanted)
    return _marked(annotate(module, [rules], watch=watch)[0].module)  # type: ignore[list-item]


def _marked(module: Module) -> Module:
    # Splatting lets relevance pass projections as it is, which asks for equal widths.
    assume(not any(n.rule is not None and refused(n, n.rule.name) for n in module.graph.nodes))
    return AddPlaces().run(module)


def start(data: st.DataObject, module: Module) -> str:
    """The place that relevance starts from."""
    outputs = [name for name in module.graph.value_at if name.startswith("output.")]
    return data.draw(st.sampled_from(outputs), "target")


def run(module: Module, drawing: Drawn, batch: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs of `batch` images, and every value for them."""
    inputs = drawing.inputs(batch)
    return inputs, interpret(module.graph, module.tensors, inputs, keep=True)


def ledger_closes(data: st.DataObject, drawing: Drawn, module: Module) -> None:
    """Relevance is finite everywhere; over the whole and at every node nothing is unaccounted."""
    target = start(data, module)
    inputs, values = run(module, drawing, data.draw(st.integers(1, 3), "B"))
    shape = (data.draw(st.integers(1, 3), "K"), *values[module.graph.value_at[target].name].shape)
    found = run_joint(lowered(module, target, ledger=True), inputs, drawing.starts(shape))
    for place, relevance in found.places.items():
        assert torch.isfinite(relevance).all(), place
    limit = 1e-10 * found.largest
    assert found.open <= limit
    assert {node: rest for node, rest in found.open_nodes().items() if rest > limit} == {}


@cache
def held() -> frozenset[tuple[str, str]]:
    """(op, rule) of all graphs whose ledgers were found to close: of graphs of all operations, and
    of small ones for each pair that these missed."""
    found = _hold(CARRYING, 120, 30)
    for op, rule in sorted(set(CATALOGUE) - found - MISSED):
        found |= _hold([op], 6, 4, rule)
    return frozenset(found)


def _hold(ops: Sequence[str], count: int, longest: int, wanted: str = "") -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()

    @examples(count)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        drawing = data.draw(drawn(ops, longest))
        module = ruled(data, drawing.module, wanted=wanted)
        ledger_closes(data, drawing, module)
        found.update(with_rules(module.graph))

    check()
    return found


def with_rules(graph: Graph) -> set[tuple[str, str]]:
    """(op, rule) of every node that has a rule."""
    return {(n.op, n.rule.name) for n in graph.nodes if n.rule is not None}
