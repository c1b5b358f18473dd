"""canonicalize: no-ops dropped, batch norm and constants folded, equal operations merged."""

from __future__ import annotations

import pytest
import torch

from lrpc.ir.printer import print_graph
from passes import Canonicalize
from tests.support.graphs import check_values, module, rewritten

NORM = 'batch_norm(%c) {weight="n.w", bias="n.b", mean="n.m", var="n.v", eps=1e-05}'
DECLARED = """weight "n.w": f64[{c}]
  weight "n.b": f64[{c}]
  weight "n.m": f64[{c}]
  weight "n.v": f64[{c}]"""
CONV = """
graph @g(%x: f64[B,4,5,5]) {{
  weight "c.weight": f64[{shape}]{bias}
  {declared}
  %c: f64[B,6,{size}] = {op}(%x) {{weight="c.weight"{named}, {options}, dilation=[1,1], groups=2{more}}}
  %y: f64[B,6,{size}] = {norm}
  return {returned}
}}
"""  # noqa: E501
FORWARD = {
    "op": "conv2d", "shape": "6,2,3,3", "size": "5,5", "options": "stride=[1,1], padding=[1,1]",
    "more": "",
}  # fmt: skip
BACKWARD = {
    "op": "conv_transpose2d", "shape": "4,3,2,2", "size": "10,10",
    "options": "stride=[2,2], padding=[0,0]", "more": ", output_padding=[0,0]",
}  # fmt: skip
VARIANCE = torch.rand(6, dtype=torch.float64) + 0.5


@pytest.mark.parametrize("kind", [FORWARD, BACKWARD], ids=["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("bias", [False, True])
def test_batch_norm_folds_into_the_convolution(kind: dict[str, str], bias: bool) -> None:
    named = ', bias="c.bias"' if bias else ""
    declared = DECLARED.format(c=6)
    given = {**kind, "named": named, "declared": declared, "norm": NORM, "returned": "%y"}
    text = CONV.format(bias='\n  weight "c.bias": f64[6]' if bias else "", **given)
    before = module(text, n_v=VARIANCE)
    after = rewritten(Canonicalize(), before)
    assert [node.op for node in after.graph.nodes] == [kind["op"]]
    assert after.graph.nodes[0].out.name == "c"
    assert [name for name, _ in after.graph.weights] == ["c.weight@folded", "c.bias@folded"]
    check_values(before, after)


def test_batch_norm_folds_into_a_linear_map_of_rows_only() -> None:
    text = """
    graph @g(%x: f64[B,{rows}4]) {{
      weight "c.weight": f64[6,4]
      {declared}
      %c: f64[B,{rows}6] = linear(%x) {{weight="c.weight"}}
      %y: f64[B,{rows}6] = {norm}
      return %y
    }}
    """
    folded = module(text.format(rows="", declared=DECLARED.format(c=6), norm=NORM), n_v=VARIANCE)
    after = rewritten(Canonicalize(), folded)
    assert [node.op for node in after.graph.nodes] == ["linear"]
    check_values(folded, after)
    kept = module(text.format(rows="3,", declared=DECLARED.format(c=3), norm=NORM))
    assert [n.op for n in Canonicalize().run(kept).graph.nodes] == ["linear", "batch_norm"]


def test_batch_norm_stays_where_the_convolution_is_used_otherwise() -> None:
    given = {"bias": "", "named": "", "declared": DECLARED.format(c=6), "norm": NORM, **FORWARD}
    before = module(CONV.format(returned='"y" %y, "c" %c', **given))
    assert [n.op for n in Canonicalize().run(before).graph.nodes] == ["conv2d", "batch_norm"]


def test_constants_fold_into_shared_weights_stored_for_one_image() -> None:
    before = module(
        """
        graph @g(%x: f64[B,2,3]) {
          %a: f64[2,3] = full() {shape=[2,3], value=1.0, dtype="f64"}
          %s: f64[2,3] = cumsum(%a) {dim=1}
          %e: f64[B,2,3] = expand(%s) {shape=[B,2,3]}
          %t: f64[B,2,3] = cumsum(%e) {dim=-2}
          %u: f64[B,2,3] = scale(%t) {by=1.0}
          %f: f64[B,2,3] = full() {shape=[B,2,3], value=4.0, dtype="f64"}
          %g: f64[B,2,3] = sqrt(%f)
          %m: bool[B,2,3] = compare_scalar(%g) {kind="gt", value=9}
          %p: f64[B,2,3] = mul(%x, %s)
          %q: f64[B,2,3] = mul(%p, %u)
          %r: f64[B,2,3] = masked_fill(%q, %m) {value=0.0}
          %y: f64[B,2,3] = mul(%r, %g)
          return %y
        }
        """
    )
    after = rewritten(Canonicalize(), before)
    check_values(before, after)
    assert print_graph(after.graph) == (
        """graph @g(%x: f64[B,2,3]) {
  weight "s@constant": f64[2,3]
  weight "t@constant": f64[1,2,3]
  %s: f64[2,3] = constant() {weight="s@constant"}
  %t_once: f64[1,2,3] = constant() {weight="t@constant"}
  %t: f64[B,2,3] = expand(%t_once) {shape=[B,2,3]}
  %g: f64[B,2,3] = full() {shape=[B,2,3], value=2.0, dtype="f64"}
  %p: f64[B,2,3] = mul(%x, %s)
  %q: f64[B,2,3] = mul(%p, %t)
  %y: f64[B,2,3] = mul(%q, %g)
  return %y
}
"""
    )


def test_what_depends_on_the_batch_or_the_seeds_stays() -> None:
    before = module(
        """
        graph @g(%x: f64[B,2], %s: f64[K,B,2]) {
          %a: f64[B,2] = full() {shape=[B,2], value=1.0, dtype="f64"}
          %b: f64[B,2] = cumsum(%a) {dim=-2}
          %n: f64[2] = sum(%a) {dims=[-2], keepdim=false}
          %k: f64[K,B,2] = full() {shape=[K,B,2], value=1.0, dtype="f64"}
          %l: f64[K,B,2] = exp(%k)
          return "b" %b, "n" %n, "l" %l
        }
        """
    )
    assert Canonicalize().run(before).graph == before.graph
