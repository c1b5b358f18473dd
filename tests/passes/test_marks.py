"""Mark passes for norms, attention, deformable sampling and the rest."""

from __future__ import annotations

from passes import MarkAttention, MarkDeformable, MarkLayerNorm, MarkResidual, MarkRest
from passes.reachable import receiving, relevance_reachable
from tests.support.graphs import check_text, check_values, module, operands, rewritten, roles


def test_norms_are_marked_wherever_they_stand() -> None:
    body = """
    graph @g(%x: f64[B,8], %m: f64[B,8,2,2]) {{
      weight "w": f64[8]
      %a: f64[B,8] = layer_norm(%x) {{eps=1e-05}}{layer}
      %b: f64[B,8] = layer_norm(%a) {{eps=1e-05}}{layer}
      %c: f64[B,8,2,2] = group_norm(%m) {{groups=2, eps=1e-05}}{group}
      %d: f64[B,8,2,2] = batch_norm(%c) {{weight="w", bias="w", mean="w", var="w", eps=1e-05}}{batch}
      %k: f64[8] = constant() {{weight="w"}}
      %n: f64[8] = layer_norm(%k) {{eps=1e-05}}
      %s: f64[B,8] = softmax(%b) {{dim=-1}}
      return "s" %s, "d" %d, "n" %n
    }}
    """  # noqa: E501
    marked = {"layer": " role=layer_norm", "group": " role=group_norm", "batch": " role=batch_norm"}
    check_text(MarkLayerNorm(), body.format(layer="", group="", batch=""), body.format(**marked))


ATTENTION = """
graph @g(%q: f64[B,5,8], %k: f64[B,7,8], %v: f64[B,7,8], %m: bool[B,1,7]) {
  weight "bias": f64[5,7]
  %kt: f64[B,8,7] = permute(%k) {dims=[0,2,1]}
  %scores: f64[B,5,7] = matmul(%q, %kt)
  %scaled: f64[B,5,7] = scale(%scores) {by=0.35}
  %bias: f64[5,7] = constant() {weight="bias"}
  %biased: f64[B,5,7] = add(%scaled, %bias)
  %masked: f64[B,5,7] = masked_fill(%biased, %m) {value=-inf}
  %shares: f64[B,5,7] = softmax(%masked) {dim=-1}
  %copy: f64[B,5,7] = reshape(%shares) {shape=[B,5,7]}
  %y: f64[B,5,8] = matmul(%copy, %v)
  return %y
}
"""


def test_attention_is_found_through_scale_bias_mask_and_structure() -> None:
    graph = rewritten(MarkAttention(), module(ATTENTION)).graph
    assert roles(graph) == {
        "scores": "attention_scores",
        "shares": "attention_probabilities",
        "y": "attention_values",
    }


def test_scores_of_constant_queries_are_scores() -> None:
    text = ATTENTION.replace("%q: f64[B,5,8], ", "").replace(
        'weight "bias"',
        'weight "q": f64[5,8]\n  %q: f64[5,8] = constant() {weight="q"}\n  weight "bias"',
    )
    graph = rewritten(MarkAttention(), module(text)).graph
    assert roles(graph)["scores"] == "attention_scores"


def test_einsum_puts_the_probabilities_first() -> None:
    before = module(
        """
        graph @g(%x: f64[B,5,7], %v: f64[B,7,8]) {
          %shares: f64[B,5,7] = softmax(%x) {dim=-1}
          %y: f64[B,5,8] = einsum(%v, %shares) {equation="bkc, bqk -> bqc"}
          return %y
        }
        """
    )
    after = rewritten(MarkAttention(), before)
    assert roles(after.graph) == {"shares": "attention_probabilities", "y": "attention_values"}
    assert operands(after.graph, "y") == ("shares", "v")
    check_values(before, after)


def test_products_and_softmax_outside_attention() -> None:
    body = """
    graph @g(%x: f64[B,5,7], %v: f64[B,7,5], %m: bool[B,5,7]) {{
      weight "c": f64[7,2]
      %s: f64[B,5,7] = softmax(%x) {{dim=-1}}{softmax}
      %t: f64[B,7,7] = matmul(%v, %s){bilinear}
      %c: f64[7,2] = constant() {{weight="c"}}
      %u: f64[B,7,2] = matmul(%t, %c){bilinear}
      %r: f64[B,5,5] = matmul(%x, %v){bilinear}
      %n: f64[B,5,5] = relu(%r)
      %w: f64[B,5,5] = softmax(%n) {{dim=-1}}{softmax}
      %p: f64[B,5,7] = mul(%x, %s){product}
      %f: f64[B,5,7] = cast(%m) {{dtype="f64"}}
      %z: f64[B,5,7] = mul(%f, %f)
      return "u" %u, "w" %w, "p" %p, "z" %z
    }}
    """
    names = ("softmax", "bilinear", "product")
    check_text(
        MarkAttention(),
        body.format(**dict.fromkeys(names, "")),
        body.format(**{name: f" role={name}" for name in names}),
    )


# A decoder layer in small: the reference is refined, detached between layers, and an output too.
DEFORMABLE = """
graph @g(%x: f64[B,5,8], %start: f64[B,5,2], %v: f64[B,6,2,4]) {
  weight "offsets": f64[8,8]
  weight "weights": f64[8,8]
  weight "box": f64[2,8]
  weight "extent": f64[2,1,2]
  %delta: f64[B,5,2] = linear(%x) {weight="box"}
  %above: f64[B,5,2] = add(%delta, %start)
  %boxes: f64[B,5,2] = sigmoid(%above)
  %ref: f64[B,5,2] = detach(%boxes)
  %clean: f64[B,5,2] = clamp(%ref) {min=0.0, max=1.0}
  %anchor: f64[B,5,1,1,1,2] = reshape(%clean) {shape=[B,5,1,1,1,2]}
  %flat: f64[B,5,8] = linear(%x) {weight="offsets"}
  %split: f64[B,5,2,2,1,2] = reshape(%flat) {shape=[B,5,2,2,1,2]}
  %extent: f64[2,1,2] = constant() {weight="extent"}
  %shift: f64[B,5,2,2,1,2] = div(%split, %extent)
  %loc: f64[B,5,2,2,1,2] = add(%anchor, %shift)
  %scores: f64[B,5,8] = linear(%x) {weight="weights"}
  %heads: f64[B,5,2,4] = reshape(%scores) {shape=[B,5,2,4]}
  %some: f64[B,5,2,2] = slice(%heads) {dim=-1, start=0, stop=2, step=1}
  %shares: f64[B,5,2,2] = softmax(%some) {dim=-1}
  %points: f64[B,5,2,2,1] = reshape(%shares) {shape=[B,5,2,2,1]}
  %y: f64[B,5,8] = deform_sample(%v, %loc, %points) {levels=[[2,2],[1,2]]}
  return "y" %y, "boxes" %boxes
}
"""
COORDINATES = {"ref", "clean", "anchor", "split", "shift", "loc"}


def test_coordinates_end_at_linear_maps_and_at_detach() -> None:
    graph = rewritten(MarkDeformable(), module(DEFORMABLE)).graph
    assert roles(graph) == {
        **dict.fromkeys(COORDINATES, "coordinate"),
        "shares": "deformable_probabilities",
        "y": "deformable_sampling",
    }
    able = relevance_reachable(graph)
    assert not COORDINATES & able
    assert {"x", "delta", "above", "boxes", "flat", "shares", "y"} <= able
    assert {"flat"} == {
        v.name for n in graph.nodes for v in n.outputs if v.name in able
    } - receiving(graph)


def test_content_sums_are_no_coordinates() -> None:
    text = """
    graph @g(%x: f64[B,5,4], %v: f64[B,6,2,4], %w: f64[B,5,2,1,1]) {
      weight "w": f64[4,4]
      %f: f64[B,5,4] = linear(%x) {weight="w"}
      %s: f64[B,5,4] = add(%x, %f)
      %loc: f64[B,5,2,1,1,2] = reshape(%s) {shape=[B,5,2,1,1,2]}
      %y: f64[B,5,8] = deform_sample(%v, %loc, %w) {levels=[[2,3]]}
      return "y" %y, "s" %s
    }
    """
    graph = rewritten(MarkDeformable(), MarkResidual().run(module(text))).graph
    assert roles(graph) == {
        "s": "residual",
        "loc": "coordinate",
        "y": "deformable_sampling",
    }


def test_rest_gives_every_node_a_role() -> None:
    body = """
    graph @g(%x: f64[B,4,6,6], %mask: bool[B,6]) {{
      weight "w": f64[4,4,1,1]
      weight "v": f64[4,6]
      %f: f64[B,6] = cast(%mask) {{dtype="f64"}} role={constant}
      %o: f64[4,6] = constant() {{weight="v"}} role={constant}
      %c: f64[B,4,6,6] = conv2d(%x) {{weight="w", stride=[1,1], padding=[0,0], dilation=[1,1], groups=1}} role={convolution}
      %r: f64[B,4,6,6] = relu(%c) role={activation}
      %p: f64[B,4,3,3], %i: i64[B,4,3,3] = max_pool2d(%r) {{kernel=[2,2], stride=[2,2], padding=[0,0], dilation=[1,1], ceil=false}} role={pooling}
      %u: f64[B,4,6,6] = interpolate(%p) {{size=[6,6], mode="bilinear", align_corners=false}} role={interpolation}
      %l: f64[B,4,6,4] = linear(%u) {{weight="v"}} role={linear}
      %m: f64[B,4,6] = mean(%l) {{dims=[-1], keepdim=false}} role={structural}
      %b: bool[B,4,6] = compare_scalar(%m) {{kind="gt", value=0}} role={constant}
      %k: f64[B,4,6] = masked_fill(%m, %b) {{value=0.0}} role={structural}
      %t: f64[B,4,3], %j: i64[B,4,3] = topk(%k) {{k=3, dim=-1}} role={selection}
      %g: f64[B,4,3] = gather(%k, %j) {{dim=-1}} role={selection}
      %d: f64[B,4,3] = detach(%g) role={detach}
      %e: f64[B,4,3] = mul(%d, %t) role={product}
      return "e" %e, "f" %f, "o" %o
    }}
    """  # noqa: E501
    names = ["constant", "convolution", "activation", "pooling", "interpolation", "linear"]
    names += ["structural", "selection", "detach", "product"]
    expected = body.format(**{name: name for name in names})
    bare = expected
    for name in names:
        bare = bare.replace(f" role={name}", "")
    check_text(MarkRest(), bare, expected)


def test_rest_keeps_roles_and_calls_what_hangs_on_coordinates_constant() -> None:
    marked = MarkRest().run(MarkDeformable().run(module(DEFORMABLE)))
    found = roles(marked.graph)
    assert {name for name, role in found.items() if role == "coordinate"} == COORDINATES
    assert found["extent"] == "constant"
    assert found["above"] == "merge"
    assert found["boxes"] == "activation"
    assert all(node.role for node in marked.graph.nodes)
