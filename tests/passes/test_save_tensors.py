"""What the forward pass keeps for relevance: as few bytes as cheap operations allow, and the same
relevance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import lrpc
from lrpc.ir.graph import Graph, Module
from passes import Joints, SaveTensors, run_joint_pipeline
from passes.roots import roots, size
from tests.support.graphs import check_values, module
from tests.support.joint_runs import lowered, run_joint
from tests.support.random_checks import annotated, examples, run, start
from tests.support.random_graphs import drawn
from tests.support.tiny import tiny


def crossed(model: Module, target: str) -> tuple[Joints, list[Module]]:
    """Both halves for one target, and its joint modules without and with ledger."""
    joints = [lowered(model, target, ledger, clean=True) for ledger in (False, True)]
    plain, booked = joints
    start = model.graph.value_at[target].name
    given = Joints(model.graph, ((plain.graph, booked.graph),), (start,))
    return run_joint_pipeline(given, [SaveTensors()]), joints


def read(forward: Graph, joint: Graph) -> set[str]:
    """The forward values that the relevance half of `joint` reads."""
    own = {v.name for v in forward.values()}
    half = [n for n in joint.nodes if not n.outputs or n.out.name not in own]
    return {v.name for n in half for v in n.inputs if v.name in own}


def kept_bytes(forward: Graph, names: set[str]) -> int:
    """Bytes of memory behind values, for one image, without inputs, outputs and weights."""
    below = roots(forward)
    there = {v.name for v in forward.inputs} | {v.name for _, v in forward.outputs}
    there |= {n.out.name for n in forward.nodes if n.op == "constant"}
    own = {below[name].name: below[name] for name in names} if names else {}
    anyway = {below[name].name for name in there}
    return sum(size(v) for name, v in own.items() if name not in anyway)


@examples(60)
@given(st.data())
def test_no_relevance_changes(data: Any) -> None:
    drawing = data.draw(drawn())
    module = annotated(data, drawing.module)
    target = start(data, module)
    inputs, values = run(module, drawing, 2)
    seed = drawing.starts((2, *values[module.graph.value_at[target].name].shape))
    found, joints = crossed(module, target)
    for joint, graph in zip(joints, found.pairs[0], strict=True):
        before = run_joint(joint, inputs, seed)
        after = run_joint(Module(graph, {**module.tensors, **joint.tensors}), inputs, seed)
        assert after.places.keys() == before.places.keys()
        for place, relevance in after.places.items():
            assert torch.equal(relevance, before.places[place]), place
        assert [row[:2] for row in after.rows] == [row[:2] for row in before.rows]
        for (*_, amount), (*_, same) in zip(after.rows, before.rows, strict=True):
            assert torch.equal(amount, same)
    assert kept_bytes(found.forward, read(found.forward, found.pairs[0][0])) <= kept_bytes(
        module.graph, read(module.graph, joints[0].graph)
    )


def plan_of(program: Any) -> dict[str, Any]:
    found: dict[str, Any] = program.manifest["plan"]
    return found


def state_of(program: Any, *inputs: Tensor) -> dict[str, Tensor]:
    """What the state keeps, by name."""
    state = program.forward(*inputs)
    saved: Mapping[str, tuple[str, str]] = program.manifest["saved"]
    return {name: state.saved[scope][local] for name, (scope, local) in saved.items()}


class Layers(nn.Module):
    """Linear maps and ReLUs [B, 6] → [B, 3], with a sum that skips one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        out: Tensor = self.last((x + self.second(x)).relu())
        return out


def test_without_an_epsilon_nothing_of_linear_maps_is_kept_but_masks() -> None:
    torch.manual_seed(0)
    program: Any = lrpc.compile(
        Layers().double(), (torch.randn(2, 6).double(),), composite="epsilon", epsilon=0.0
    )
    plan = plan_of(program)["targets"]["output"]
    assert sum(plan["saved"].values()) == 8 + 8 + 3 * 8  # two masks, and the output to start from
    found = plan_of(program)["saved_for"].values()
    assert {reader.split(": ")[1] for whom in found for reader in whom} == {
        *("pass (gate)", "read", "start")
    }


def test_a_ledger_reads_no_more_than_blocks_hand_on() -> None:
    """What it needs besides it makes again: the state is that of relevance alone."""
    torch.manual_seed(0)
    x = torch.randn(2, 6).double()
    program: Any = lrpc.compile(Layers().double(), (x,), composite="epsilon", epsilon=0.0)
    assert plan_of(program)["state_for_ledger_alone"] == 0
    kept = state_of(program, x)
    assert sorted(str(t.dtype) for t in kept.values()) == ["torch.bool"] * 2 + ["torch.float64"] * 2
    state = program.forward(x)
    plain = program.relevance(state, at=[(0,), (2,)])
    booked = program.relevance(state, at=[(0,), (2,)], ledger=True)
    assert torch.equal(plain.input, booked.input)
    assert float(booked.ledger.node_closure()["first"].abs().max()) < 1e-12


def test_with_an_epsilon_what_kept_values_add_up_to_is_not_kept() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6)
    program: Any = lrpc.compile(Layers(), (x,), composite="epsilon", epsilon=0.1)
    wide = [name for name, t in state_of(program, x).items() if t.shape == (2, 8)]
    assert sorted(name.split("_")[0] for name in wide) == ["relu", "second"]


def test_without_shares_of_weights_nothing_of_the_scores_is_kept() -> None:
    """Attention under cp_lrp reads the weights alone, of norms a number for each token."""
    model, x = tiny()
    program: Any = lrpc.compile(model, (x,), composite="cp_lrp", epsilon=0.0)
    plain = {name for name, whom in plan_of(program)["saved_for"].items() if whom}
    kept = {name: t.shape for name, t in state_of(program, x).items() if name in plain}
    weights = [name for name, shape in kept.items() if shape == (2, 2, 4, 4)]
    assert len(weights) == 1
    assert "probabilities" in weights[0]
    rest = {tuple(shape) for name, shape in kept.items() if name not in weights}
    # the input, deviations, a mask and the output
    assert rest == {(2, 3, 8, 8), (2, 4, 1), (2, 4, 16), (2, 4)}


def test_kept_values_are_named_in_the_manifest() -> None:
    model, x = tiny()
    program: Any = lrpc.compile(model, (x,), composite="cp_lrp", epsilon=0.0)
    manifest = json.loads((program.directory / "manifest.json").read_text())
    assert any(name.startswith("kept_rstd") for name in manifest["saved"])
    assert any(name.startswith("kept_compare_scalar") for name in manifest["saved"])


FORWARD = """
    graph @f(%x: f64[B,6]) {
      %y: f64[B,6] = scale(%x) {by=2.0}
      %z: f64[B,6] = sin(%y)
      %end: f64[B,6] = exp(%z)
      return "end" %end
    }
    """
JOINT = """
    graph @f(%x: f64[B,6], %seed: f64[K,B,6]) {
      weight "c": f64[6]
      %y: f64[B,6] = scale(%x) {by=2.0}
      %z: f64[B,6] = sin(%y)
      %c: f64[6] = constant() {weight="c"} role=relevance
      %s: f64[B,6] = sub(%z, %c) role=relevance
      %m: bool[B,6] = compare_scalar(%s) {kind="gt", value=0.0} role=relevance
      %g: f64[K,B,6] = gate(%seed, %m) role=relevance
      return "g" %g
    }
    """


def test_what_moves_takes_its_constants_along() -> None:
    """A mask made of a value and a weight that relevance alone has is made by the forward pass."""
    joint = module(JOINT)
    given = Joints(module(FORWARD).graph, ((joint.graph, joint.graph),), ())
    found = run_joint_pipeline(given, [SaveTensors()])
    assert found.forward.weight_types == joint.graph.weight_types
    assert [n.op for n in found.forward.nodes] == [
        *("scale", "constant", "sin", "sub", "compare_scalar", "exp")
    ]
    after = found.pairs[0][0]
    assert read(found.forward, after) == {"kept_compare_scalar_2"}
    check_values(joint, Module(after, joint.tensors))
