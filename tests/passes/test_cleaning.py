"""simplify and eliminate_dead: less of the same graph."""

from __future__ import annotations

import pytest

from lrpc.errors import IRError
from passes import EliminateDead, Simplify
from passes.rewrite import rewrite
from tests.support.graphs import check_text, check_values, module, rewritten


def test_algebra() -> None:
    check_text(
        Simplify(),
        """
        graph @g(%x: f32[K,B,6], %u: f32[B,4], %v: f32[B,2]) {
          %a: f32[K,B,6] = scale(%x) {by=0.5}
          %b: f32[K,B,6] = scale(%a) {by=4.0}
          %c: f32[K,B,6] = scale(%b) {by=0.5}
          %z: f32[K,B,6] = full() {shape=[K,B,6], value=0.0, dtype="f32"}
          %d: f32[K,B,6] = add(%z, %c)
          %e: f32[K,B,2,3] = reshape(%d) {shape=[K,B,2,3]}
          %f: f32[K,B,6] = reshape(%e) {shape=[K,B,6]}
          %w: f32[B,6] = cat(%u, %v) {dim=-1}
          %l: f32[B,4] = slice(%w) {dim=1, start=0, stop=4, step=1}
          %r: f32[B,2] = slice(%w) {dim=-1, start=4, stop=6, step=1}
          %m: f32[B,4] = slice(%w) {dim=-1, start=1, stop=5, step=1}
          %p: f32[K,B,6] = mul(%x, %w) role=product loc(first)
          %q: f32[K,B,6] = mul(%w, %x) loc(second)
          return "f" %f, "l" %l, "r" %r, "m" %m, "p" %p, "q" %q
        }
        """,
        """
        graph @g(%x: f32[K,B,6], %u: f32[B,4], %v: f32[B,2]) {
          %a: f32[K,B,6] = scale(%x) {by=0.5}
          %b: f32[K,B,6] = scale(%x) {by=2.0}
          %z: f32[K,B,6] = full() {shape=[K,B,6], value=0.0, dtype="f32"}
          %e: f32[K,B,2,3] = reshape(%x) {shape=[K,B,2,3]}
          %w: f32[B,6] = cat(%u, %v) {dim=-1}
          %m: f32[B,4] = slice(%w) {dim=-1, start=1, stop=5, step=1}
          %p: f32[K,B,6] = mul(%x, %w) role=product loc(first)
          return "f" %x, "l" %u, "r" %v, "m" %m, "p" %p, "q" %p
        }
        """,
    )


def test_values_stay_and_types_decide() -> None:
    # Adding a broader zero is a broadcast; scaling an integer by 1.0 is a cast: neither is nothing.
    before = module(
        """
        graph @g(%x: f64[1,6], %i: i64[B,6]) {
          %z: f64[4,6] = full() {shape=[4,6], value=0.0, dtype="f64"}
          %a: f64[4,6] = add(%x, %z)
          %b: f64[4,6] = scale(%a) {by=3.0}
          %c: f64[4,6] = scale(%b) {by=0.1}
          %d: f32[B,6] = scale(%i) {by=1.0}
          return "c" %c, "d" %d
        }
        """
    )
    after = rewritten(Simplify(), before)
    assert [n.op for n in EliminateDead().run(after).graph.nodes] == [
        "full",
        "add",
        "scale",
        "scale",
    ]
    check_values(before, after)


DEAD = """
graph @g(%x: f32[B,4]) {{
  weight "used": f32[4,4]{weight}
  %a: f32[B,4] = linear(%x) {{weight="used"}}{nodes}
  return %a
}}
"""


@pytest.mark.parametrize("keep", [True, False])
def test_dead_nodes_and_weights_go(keep: bool) -> None:
    weight = '\n  weight "unused": f32[4,4]'
    nodes = '\n  %b: f32[B,4] = linear(%x) {weight="unused"}'
    marked = nodes + '\n  mark "b" %b\n  mark "x" %x'
    unmarked = '\n  mark "x" %x'
    check_text(
        EliminateDead(keep_marks=keep),
        DEAD.format(weight=weight, nodes=marked),
        DEAD.format(weight=weight if keep else "", nodes=marked if keep else unmarked),
    )
    check_text(
        EliminateDead(), DEAD.format(weight=weight, nodes=nodes), DEAD.format(weight="", nodes="")
    )


def test_a_rewrite_that_changes_a_type_is_refused() -> None:
    before = module(DEAD.format(weight="", nodes=""))
    with pytest.raises(IRError, match=r"rewriting %a = linear changed its type from f32\[B,4\] to"):
        rewrite(before, lambda node, new: new.op("permute", node.inputs[0], dims=(1, 0)))


def test_constants_that_several_blocks_read_come_first() -> None:
    # %p is layer 0's but layer 1 reads it; %q is layer 1's own; %r needs an input.
    body = """
    graph @g(%x: f64[4,6]) {{
      weight "p": f64[4,6]
      weight "q": f64[4,6]
      {before}%a: f64[4,6] = relu(%x) loc(net.layers.0)
      {within}%b: f64[4,6] = add(%a, %s) loc(net.layers.0)
      %q: f64[4,6] = constant() {{weight="q"}} loc(net.layers.1)
      %c: f64[4,6] = add(%b, %s) loc(net.layers.1.norm)
      %d: f64[4,6] = mul(%c, %q) loc(net.layers.1)
      return %d
    }}
    """
    lines = (
        '%p: f64[4,6] = constant() {{weight="p"}} loc({0})\n      %s: f64[4,6] = exp(%p) loc({0})'
    )
    layer, net = lines.format("net.layers.0.attn"), lines.format("net.layers")
    check_text(
        Simplify(),
        body.format(before="", within=layer + "\n      "),
        body.format(before=net + "\n      ", within=""),
    )


def test_gates_before_factors_that_vanish_with_them_go() -> None:
    before = module(
        """
        graph @g(%g: f64[K,B,6], %x: f64[B,6], %d: f64[B,6]) {
          %y: f64[B,6] = relu(%x)
          %m: bool[B,6] = compare_scalar(%y) {kind="gt", value=0.0}
          %k: f64[K,B,6] = gate(%g, %m)
          %r: f64[B,6] = ratio(%y, %d) {eps=0.1}
          %s: f64[B,6] = stab_ratio(%y) {eps=0.1}
          %other: f64[B,6] = ratio(%d, %y) {eps=0.1}
          %a: f64[K,B,6] = mul(%k, %r)
          %b: f64[K,B,6] = mul(%s, %k)
          %e: f64[K,B,6] = mul(%k, %other)
          return "a" %a, "b" %b, "e" %e
        }
        """
    )
    after = rewritten(Simplify(), before)
    readers = {node.out.name: [v.name for v in node.inputs] for node in after.graph.nodes}
    assert sorted(readers["a"]) == ["g", "r"]
    assert sorted(readers["b"]) == ["g", "s"]
    assert "k" in readers["e"]
    check_values(before, after)
