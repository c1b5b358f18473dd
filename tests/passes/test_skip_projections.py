"""skip_projections: around splatted sampling the projections pass relevance unchanged."""

from __future__ import annotations

import pytest
import torch

from lrpc.errors import RuleError
from lrpc.ir.interpreter import interpret
from lrpc.ir.ops.deformable import deform_sample
from lrpc.rules.composite import composite
from passes import MARKING, AssignRules, CheckCoverage, SkipProjections, run_pipeline
from passes.lower_relevance import LowerRelevance
from tests.support.graphs import module

TEXT = """
graph @g(%x: f64[B,4,6], %m: bool[B,4,1], %p: f64[B,4,2,1,2,2], %a: f64[B,4,2,1,2]) {{
  weight "w": f64[6,6]
  weight "v": f64[{out},6]
  %value: f64[B,4,6] = linear(%x) {{weight="w"}} role=linear rule={rule}
  %masked: f64[B,4,6] = masked_fill(%value, %m) {{value=0.0}} role=structural rule=pass
  %heads: f64[B,4,2,3] = reshape(%masked) {{shape=[B,4,2,3]}} role=structural rule=pass
  %s: f64[B,4,6] = deform_sample(%heads, %p, %a) {{levels=[[2,2]]}} rule={sampling}
  %y: f64[B,4,{out}] = linear(%s) {{weight="v"}} role=linear rule={rule}
  %z: f64[B,4,{out}] = relu(%y) role=activation rule=pass
  %other: f64[B,4,6] = linear(%x) {{weight="w"}} role=linear rule=epsilon(eps=0.1)
  place "z" %z
  place "other" %other
  return %z
}}
"""


def test_a_projection_to_another_width_cannot_be_left_out() -> None:
    given = module(TEXT.format(rule="epsilon(eps=0.1)", sampling="splat", out=5))
    with pytest.raises(RuleError, match="rule pass needs an output of its input's shape"):
        LowerRelevance("z", ()).run(SkipProjections().run(given))


SAMPLING = """
graph @g(%x: f64[B,4,6]) {
  weight "w": f64[4,6]
  weight "v": f64[6,6]
  weight "corner": f64[1,4,1,1,1,2]
  weight "share": f64[1,4,1,1,2]
  %anchor: f64[1,4,1,1,1,2] = constant() {weight="corner"}
  %shares: f64[1,4,1,1,2] = constant() {weight="share"}
  %a: f64[B,4,1,1,2] = expand(%shares) {shape=[B,4,1,1,2]}
  %offsets: f64[B,4,4] = linear(%x) {weight="w"}
  %moves: f64[B,4,1,1,2,2] = reshape(%offsets) {shape=[B,4,1,1,2,2]}
  %small: f64[B,4,1,1,2,2] = scale(%moves) {by=0.05}
  %places: f64[B,4,1,1,2,2] = add(%anchor, %small)
  %values: f64[B,4,6] = linear(%x) {weight="v"}
  %heads: f64[B,4,1,6] = reshape(%values) {shape=[B,4,1,6]}
  %z: f64[B,4,6] = deform_sample(%heads, %places, %a) {levels=[[2,2]]}
  place "offsets" %offsets
  place "values" %values
  place "z" %z
  return %z
}
"""


def test_locations_are_followed_to_their_offsets() -> None:
    """G at the offsets is the gradient of the sampling; with share 1 nothing goes to the values."""
    corner = 0.5 + 0.1 * torch.rand(1, 4, 1, 1, 1, 2, dtype=torch.float64)
    given = module(SAMPLING, corner=corner)
    rule = {"role": "deformable_sampling", "rule": "locations", "share": 1.0, "eps": 0.0}
    x, g = torch.randn(2, 4, 6).double(), torch.randn(1, 2, 4, 6).double()
    for rules in ([], [rule]):
        made = composite("cp_lrp", 0.0, rules)
        done = run_pipeline(given, (*MARKING, AssignRules(made), CheckCoverage()))
        joint = LowerRelevance("z", ("offsets", "values")).run(done)
        reads = {str(n.attr("name")): n for n in joint.graph.nodes if n.op == "read"}
        assert reads.keys() == ({"offsets"} if rules else {"values"})
    kept = interpret(joint.graph, joint.tensors, {"x": x, "seed": g}, keep=True)
    w, v, share = (given.tensors[k] for k in ("w", "v", "share"))

    def sampled(offsets: torch.Tensor) -> torch.Tensor:
        places = corner + 0.05 * offsets.reshape(2, 4, 1, 1, 2, 2)
        values = (x @ v.T).reshape(2, 4, 1, 6)
        weight = share.expand(2, -1, -1, -1, -1)
        return deform_sample(values, places, weight, ((2, 2),))

    leaf = (x @ w.T).requires_grad_(True)
    (expected,) = torch.autograd.grad(sampled(leaf), leaf, g[0])
    assert expected.any()
    torch.testing.assert_close(kept[reads["offsets"].inputs[0].name][0], expected)


def test_the_thesis_composite_covers_every_variant() -> None:
    """Each variant of residuals, norms and attention is reachable by an entry before the rest."""
    torch.manual_seed(0)
    for entry in (
        *({"role": "residual", "rule": r} for r in ("energy", "dot_positive", "skip", "epsilon")),
        *({"role": "*_norm", "rule": r} for r in ("local_linear", "taylor", "xmu", "identity")),
        {"role": "attention_values", "rule": "share", "ratio": 0.1},
    ):
        made = composite("thesis", rules=[entry])
        given = module(NORMED)
        done = run_pipeline(given, (*MARKING, AssignRules(made), CheckCoverage()))
        rules = {n.role: n.rule.name for n in done.graph.nodes if n.rule is not None}
        role = str(entry["role"]).replace("*", "layer")
        assert rules[role] == entry["rule"]
        joint = LowerRelevance("z", ("x",), ledger=True).run(done)
        assert any(node.op == "read" for node in joint.graph.nodes)


NORMED = """
graph @g(%x: f64[B,4,6]) {
  weight "w": f64[6,6]
  %n: f64[B,4,6] = layer_norm(%x) {eps=0.001}
  %q: f64[B,4,6] = linear(%n) {weight="w"}
  %t: f64[B,6,4] = permute(%n) {dims=[0,2,1]}
  %c: f64[B,4,4] = matmul(%q, %t)
  %s: f64[B,4,4] = softmax(%c) {dim=-1}
  %v: f64[B,4,6] = matmul(%s, %n)
  %o: f64[B,4,6] = linear(%v) {weight="w"}
  %y: f64[B,4,6] = add(%x, %o)
  place "x" %x
  place "z" %y
  return %y
}
"""
