"""mark_residual: skips, positions and merges are told apart by structure."""

from __future__ import annotations

import pytest

from passes import MarkResidual
from tests.support.graphs import check_text, module, operands, rewritten, roles

FFN = """
graph @ffn(%x: f64[B,4,8]) {{
  weight "w1": f64[16,8]
  weight "w2": f64[8,16]
  %h: f64[B,4,16] = linear(%x) {{weight="w1"}}
  %a: f64[B,4,16] = relu(%h)
  %f: f64[B,4,8] = linear(%a) {{weight="w2"}}
  %y: f64[B,4,8] = add({operands}){marks}
  return %y
}}
"""


def marked(text: str) -> dict[str, str]:
    return roles(rewritten(MarkResidual(), module(text)).graph)


@pytest.mark.parametrize("given", ["%x, %f", "%f, %x"])
def test_skip_comes_first(given: str) -> None:
    check_text(
        MarkResidual(),
        FFN.format(operands=given, marks=""),
        FFN.format(operands="%x, %f", marks=" role=residual"),
    )


def test_elementwise_branch_is_no_transform() -> None:
    text = """
    graph @g(%x: f64[B,4]) {
      %a: f64[B,4] = gelu(%x) {approximate="none"}
      %y: f64[B,4] = add(%x, %a)
      return %y
    }
    """
    assert marked(text) == {"y": "merge"}


def test_parallel_branches_share_the_skip() -> None:
    text = """
    graph @g(%x: f64[B,4]) {
      weight "v": f64[4,4]
      weight "w": f64[4,4]
      %f: f64[B,4] = linear(%x) {weight="v"}
      %h: f64[B,4] = linear(%x) {weight="w"}
      %s: f64[B,4] = add(%f, %x)
      %y: f64[B,4] = add(%h, %s)
      return %y
    }
    """
    graph = rewritten(MarkResidual(), module(text)).graph
    assert roles(graph) == {"s": "residual", "y": "residual"}
    assert operands(graph, "s") == ("x", "f")
    assert operands(graph, "y") == ("s", "h")


BLOCK = """
graph @g(%x: f64[B,8,6,6]) {{
  weight "c1": f64[4,8,1,1]
  weight "c2": f64[16,4,3,3]
  weight "short": f64[16,8,1,1]
  %s: f64[B,8,6,6] = relu(%x)
  %a: f64[B,4,6,6] = conv2d(%s) {{weight="c1", stride=[1,1], padding=[0,0], dilation=[1,1], groups=1}}
  %r: f64[B,4,6,6] = relu(%a)
  %f: f64[B,16,3,3] = conv2d(%r) {{weight="c2", stride=[2,2], padding=[1,1], dilation=[1,1], groups=1}}
  %p: f64[B,16,3,3] = conv2d(%s) {{weight="short", stride=[2,2], padding=[0,0], dilation=[1,1], groups=1}}
  %y: f64[B,16,3,3] = add(%f, %p)
  mark "inner" %r
  {returned}
}}
"""  # noqa: E501


def test_projection_shortcut_is_the_skip_even_where_the_block_input_is_used_elsewhere() -> None:
    text = BLOCK.format(returned='return "y" %y, "s" %s')
    graph = rewritten(MarkResidual(), module(text)).graph
    assert roles(graph) == {"y": "residual"}
    assert operands(graph, "y") == ("p", "f")


def test_branch_that_is_used_elsewhere_is_no_block() -> None:
    assert marked(BLOCK.format(returned='return "y" %y, "r" %r')) == {"y": "merge"}


def test_feature_pyramid_is_a_merge() -> None:
    text = """
    graph @g(%x: f64[B,8,6,6]) {
      weight "down": f64[8,8,2,2]
      weight "more": f64[8,8,1,1]
      weight "lateral": f64[8,8,1,1]
      %d: f64[B,8,3,3] = conv2d(%x) {weight="down", stride=[2,2], padding=[0,0], dilation=[1,1], groups=1}
      %m: f64[B,8,3,3] = conv2d(%d) {weight="more", stride=[1,1], padding=[0,0], dilation=[1,1], groups=1}
      %u: f64[B,8,6,6] = interpolate(%m) {size=[6,6], mode="bilinear", align_corners=false}
      %l: f64[B,8,6,6] = conv2d(%x) {weight="lateral", stride=[1,1], padding=[0,0], dilation=[1,1], groups=1}
      %y: f64[B,8,6,6] = add(%l, %u)
      return %y
    }
    """  # noqa: E501
    assert marked(text) == {"y": "merge"}


ATTENTION = """
graph @g(%x: f64[B,5,8], %box: f64[B,5,4]) {{
  weight "p": f64[8,4]
  weight "q": f64[8,8]
  weight "k": f64[8,8]
  weight "v": f64[8,8]
  %n: f64[B,5,8] = layer_norm(%x) {{eps=1e-05}}
  %pos: f64[B,5,8] = linear(%box) {{weight="p"}}
  %sum: f64[B,5,8] = add({first})
  %qs: f64[B,5,8] = linear(%sum) {{weight="q"}}
  %ks: f64[B,5,8] = linear(%sum) {{weight="k"}}
  %vs: f64[B,5,8] = linear({value}) {{weight="v"}}
  %kt: f64[B,8,5] = permute(%ks) {{dims=[0,2,1]}}
  %scores: f64[B,5,5] = matmul(%qs, %kt)
  %shares: f64[B,5,5] = softmax(%scores) {{dim=-1}}
  %f: f64[B,5,8] = matmul(%shares, %vs)
  %y: f64[B,5,8] = add({skip}, %f)
  return %y
}}
"""


@pytest.mark.parametrize("first", ["%x, %pos", "%pos, %x"])
def test_position_of_queries_is_no_residual(first: str) -> None:
    text = ATTENTION.format(first=first, value="%x", skip="%x")
    graph = rewritten(MarkResidual(), module(text)).graph
    assert roles(graph) == {"sum": "positional", "y": "residual"}
    assert operands(graph, "sum") == ("x", "pos")
    assert operands(graph, "y") == ("x", "f")


def test_sum_that_is_also_the_value_is_no_position() -> None:
    text = ATTENTION.format(first="%x, %pos", value="%sum", skip="%sum")
    assert marked(text) == {"sum": "merge", "y": "residual"}


def test_residual_that_only_queries_is_no_position() -> None:
    text = """
    graph @g(%x: f64[B,5,8], %m: f64[B,7,8]) {
      weight "w": f64[8,8]
      weight "q": f64[8,8]
      %f: f64[B,5,8] = linear(%x) {weight="w"}
      %sum: f64[B,5,8] = add(%x, %f)
      %qs: f64[B,5,8] = linear(%sum) {weight="q"}
      %kt: f64[B,8,7] = permute(%m) {dims=[0,2,1]}
      %scores: f64[B,5,7] = matmul(%qs, %kt)
      %shares: f64[B,5,7] = softmax(%scores) {dim=-1}
      %y: f64[B,5,8] = matmul(%shares, %m)
      return %y
    }
    """
    assert marked(text) == {"sum": "residual"}


CONSTANT = """
graph @g(%x: f64[B,5,8]) {{
  weight "pos": f64[{shape}]
  weight "w": f64[8,8]
  %p: f64[{shape}] = constant() {{weight="pos"}}
  %t: f64[B,5,8] = add(%p, %x)
  {use}
  return %y
}}
"""
MAP = '%n: f64[B,5,8] = layer_norm(%t) {eps=1e-05}\n  %y: f64[B,5,8] = linear(%n) {weight="w"}'


def test_constant_of_the_token_shape_is_a_position() -> None:
    graph = rewritten(MarkResidual(), module(CONSTANT.format(shape="1,5,8", use=MAP))).graph
    assert roles(graph) == {"t": "positional"}
    assert operands(graph, "t") == ("x", "p")


def test_constant_per_channel_and_constant_before_no_map_are_merges() -> None:
    assert marked(CONSTANT.format(shape="8", use=MAP)) == {"t": "merge"}
    sigmoid = "%y: f64[B,5,8] = sigmoid(%t)"
    assert marked(CONSTANT.format(shape="1,5,8", use=sigmoid)) == {"t": "merge"}


def test_box_refinement_is_a_merge() -> None:
    text = """
    graph @g(%x: f64[B,5,8], %ref: f64[B,5,4]) {
      weight "p": f64[8,4]
      weight "box": f64[4,8]
      weight "w": f64[8,8]
      %pos: f64[B,5,8] = linear(%ref) {weight="p"}
      %h: f64[B,5,8] = add(%x, %pos)
      %f: f64[B,5,8] = linear(%h) {weight="w"}
      %shift: f64[B,5,4] = linear(%f) {weight="box"}
      %base: f64[B,5,4] = log(%ref)
      %t: f64[B,5,4] = add(%shift, %base)
      %y: f64[B,5,4] = sigmoid(%t)
      return %y
    }
    """
    assert marked(text)["t"] == "merge"


def test_path_through_detach_is_no_transform() -> None:
    text = """
    graph @g(%x: f64[B,4]) {
      weight "w": f64[4,4]
      %d: f64[B,4] = detach(%x)
      %f: f64[B,4] = linear(%d) {weight="w"}
      %y: f64[B,4] = add(%x, %f)
      %z: f64[B,4] = sub(%y, %x)
      return %z
    }
    """
    assert marked(text) == {"y": "merge", "z": "merge"}


QUERIES = """
graph @g(%values: f64[B,7,8], %shares: f64[B,5,7]) {{
  weight "queries": f64[1,5,8]
  weight "w": f64[8,8]
  %queries: f64[1,5,8] = constant() {{weight="queries"}}
  %mixed: f64[B,5,8] = {mix}
  %attended: f64[B,5,8] = linear(%mixed) {{weight="w"}}
  %sum: f64[B,5,8] = add(%queries, %attended)
  %y: f64[B,5,8] = linear(%sum) {{weight="w"}}
  return %y
}}
"""


def test_learned_queries_are_the_skip_of_an_attention() -> None:
    text = QUERIES.format(mix="matmul(%shares, %values)")
    node = rewritten(MarkResidual(), module(text)).graph.producers["sum"]
    assert (node.role, [v.name for v in node.inputs]) == ("residual", ["queries", "attended"])


def test_a_constant_added_to_embedded_patches_is_their_position() -> None:
    text = QUERIES.format(mix="slice(%values) {dim=-2, start=0, stop=5, step=1}")
    node = rewritten(MarkResidual(), module(text)).graph.producers["sum"]
    assert (node.role, [v.name for v in node.inputs]) == ("positional", ["attended", "queries"])
