"""Mark passes for norms, attention, deformable sampling and the rest."""

from __future__ import annotations

from passes import MarkDeformable
from passes.reachable import receiving, relevance_reachable
from tests.support.graphs import module, rewritten, roles

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
