"""assign_rules and check_coverage: where relevance can arrive there is a rule, or an error."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lrpc.errors import IRError, RuleError
from lrpc.ir.graph import Module, Node, Rule
from passes import MARKING, AssignRules, CheckCoverage, annotating, run_pipeline
from passes.class_maps import class_maps
from tests.support.graphs import check_text, module, rewritten


@dataclass(frozen=True)
class Only:
    """A composite with one rule, for some operations."""

    ops: tuple[str, ...]
    refused: tuple[str, ...] = ()

    def rule_for(self, node: Node, where: frozenset[str]) -> Rule | None:
        if node.op in self.refused:
            raise RuleError(f"rule epsilon is not defined for {node.op}; it has: none")
        return Rule("epsilon", (("eps", 0.001),)) if node.op in self.ops else None


TEXT = """
graph @g(%x: f64[B,4]) {{
  weight "w": f64[4,4]
  %a: f64[B,4] = linear(%x) {{weight="w"}} role=linear{rule} loc(net.first, net.py:7)
  %b: f64[B,4] = exp(%a) role=activation loc(net.act, net.py:8)
  %c: bool[B,4] = compare_scalar(%b) {{kind="gt", value=0}} role=constant
  %y: f64[B,4] = masked_fill(%a, %c) {{value=0.0}} role=structural{rule} loc(net, net.py:9)
  return %y
}}
"""


def test_rules_are_assigned_where_relevance_flows() -> None:
    composite = Only(("linear", "masked_fill", "compare_scalar"), refused=("exp",))
    rule = " rule=epsilon(eps=0.001)"
    check_text(AssignRules(composite), TEXT.format(rule=""), TEXT.format(rule=rule))
    # The exponential decides a comparison only: it carries, but nothing arrives there.
    assigned = AssignRules(composite).run(module(TEXT.format(rule="")))
    assert CheckCoverage().run(assigned) is assigned


def test_missing_rules_are_listed_with_place_and_remedy() -> None:
    with pytest.raises(RuleError) as caught:
        CheckCoverage().run(module(TEXT.format(rule="")))
    assert str(caught.value) == (
        "2 operations have no relevance rule in @g; add an entry by role, op or module under"
        " LRPC.RULES, or choose another composite\n"
        "  linear of role linear (net.first, net.py:7)\n"
        "  masked_fill of role structural (net, net.py:9)"
    )
    with pytest.raises(RuleError, match=r"\n  … and 1 more$"):
        CheckCoverage(shown=1).run(module(TEXT.format(rule="")))


def test_a_rule_that_an_operation_lacks_names_the_place() -> None:
    composite = Only((), refused=("linear",))
    with pytest.raises(RuleError) as caught:
        AssignRules(composite).run(module(TEXT.format(rule="")))
    assert str(caught.value) == (
        "rule epsilon is not defined for linear; it has: none, for linear of role linear"
        " (net.first, net.py:7); give it a rule under LRPC.RULES, or write it with operations that"
        " have one"
    )


def test_pipeline_verifies_after_every_pass_and_reports_each() -> None:
    seen: list[str] = []
    every = Only(("linear", "masked_fill"))
    text = TEXT.format(rule="").replace(" role=linear", "")
    run_pipeline(module(text), annotating(every), lambda step, _: seen.append(step.name))
    after = ["assign_rules", "skip_projections", "check_coverage", "add_places"]
    assert seen == [step.name for step in MARKING] + after


@dataclass(frozen=True)
class _Breaks:
    name = "breaks"

    def run(self, module: Module) -> Module:
        return module.with_graph(module.graph.with_nodes(module.graph.nodes[1:]))


def test_pipeline_names_the_pass_that_breaks_a_graph() -> None:
    with pytest.raises(IRError, match=r"%a is used before it is defined.*after breaks"):
        run_pipeline(module(TEXT.format(rule="")), (_Breaks(),))  # type: ignore[arg-type]


def test_annotation_keeps_nodes_as_they_are() -> None:
    before = module(TEXT.format(rule=""))
    after = rewritten(AssignRules(Only(())), before)
    assert after.graph == before.graph


HEADS = """
graph @g(%x: f64[B,3,4]) {
  weight "w": f64[5,4]
  weight "v": f64[4,4]
  %a: f64[B,3,4] = linear(%x) {weight="v"} role=linear loc(net.inner, net.py:6)
  %b: f64[B,3,5] = linear(%a) {weight="w"} role=linear loc(net.head, net.py:7)
  %c: f64[B,5,3] = permute(%b) {dims=[0,2,1]} role=structural loc(net, net.py:8)
  %d: f64[B,3,4] = linear(%a) {weight="v"} role=linear loc(net.boxes, net.py:9)
  return "pred_logits" %c, "pred_boxes" %d
}
"""


@pytest.mark.parametrize("name", ["pred_logits", "logits", "proposal_logits"])
def test_maps_that_give_logits_of_classes(name: str) -> None:
    """By the name of what is returned, through what only moves entries; no other map."""
    graph = module(HEADS.replace("pred_logits", name)).graph
    assert class_maps(graph) == {"b"}


def test_outputs_of_other_names_are_no_classes() -> None:
    assert not class_maps(module(HEADS.replace("pred_logits", "scores")).graph)
    place = 'place "output.layer_logits.0" %b\n  return "x" %c'
    inner = HEADS.replace('return "pred_logits" %c', place)
    assert class_maps(module(inner).graph) == {"b"}


MOVED = """
graph @g(%x: f64[B,3,4]) {{
  weight "w": f64[6,4]
  weight "t": f64[1]
  weight "u": f64[6]
  %a: f64[B,3,6] = linear(%x) {{weight="w"}} role=linear
  %b: f64[B,3,6] = linear(%x) {{weight="w"}} role=linear
  {lines}
  return "logits" %z
}}
"""
AS_A_WHOLE = {
    "another order": "%z: f64[B,6,3] = permute(%a) {dims=[0,2,1]} role=structural",
    "pooled": "%z: f64[B,6] = mean(%a) {dims=[1], keepdim=false} role=structural",
    "one axis more": "%z: f64[B,1,3,6] = reshape(%a) {shape=[B,1,3,6]} role=structural",
    "part of the queries": "%z: f64[B,2,6] = slice(%a) {dim=1, start=0, stop=2, step=1}"
    " role=structural",
    "a temperature": '%t: f64[1] = constant() {weight="t"}\n'
    "  %z: f64[B,3,6] = div(%a, %t) role=structural",
    "a bias": '%u: f64[6] = constant() {weight="u"}\n  %z: f64[B,3,6] = add(%a, %u) role=merge',
}
IN_PARTS = {
    "classes and boxes": "%z: f64[B,3,2] = slice(%a) {dim=2, start=0, stop=2, step=1}"
    " role=structural",
    "anchors": "%z: f64[B,9,2] = reshape(%a) {shape=[B,9,2]} role=structural",
    "queries and classes in one axis": "%z: f64[B,18] = reshape(%a) {shape=[B,18]} role=structural",
    "a sum of channels": "%z: f64[B,3] = sum(%a) {dims=[2], keepdim=false} role=structural",
    "two maps in a row": "%z: f64[B,3,12] = cat(%a, %b) {dim=2} role=structural",
    "a class more": "%z: f64[B,3,7] = pad(%a) {pad=[0,1,0,0,0,0], value=0.0} role=structural",
    "a factor for each class": '%u: f64[6] = constant() {weight="u"}\n'
    "  %z: f64[B,3,6] = div(%a, %u) role=structural",
    "another quantity for all": "%m: f64[B,3,1] = mean(%b) {dims=[2], keepdim=true}"
    " role=structural\n  %z: f64[B,3,6] = sub(%a, %m) role=merge",
    "a bound": "%z: f64[B,3,6] = relu(%a) role=activation",
}


@pytest.mark.parametrize("what", AS_A_WHOLE)
def test_a_map_gives_classes_where_all_its_channels_are_one_axis(what: str) -> None:
    assert class_maps(module(MOVED.format(lines=AS_A_WHOLE[what])).graph) == {"a"}


@pytest.mark.parametrize("what", IN_PARTS)
def test_a_map_whose_channels_are_split_or_joined_gives_none(what: str) -> None:
    assert not class_maps(module(MOVED.format(lines=IN_PARTS[what])).graph)


def test_maps_that_are_added_or_in_a_row_of_queries_each_give_classes() -> None:
    for line in ("add(%a, %b) role=merge", "cat(%a, %b) {dim=1} role=structural"):
        shape = "[B,6,6]" if line.startswith("cat") else "[B,3,6]"
        graph = module(MOVED.format(lines=f"%z: f64{shape} = {line}")).graph
        assert class_maps(graph) == {"a", "b"}


def test_convolutions_have_their_classes_in_axis_1() -> None:
    text = """
graph @g(%x: f64[B,3,8,8]) {
  weight "w": f64[5,3,1,1]
  %a: f64[B,5,8,8] = conv2d(%x) {weight="w", stride=[1,1], padding=[0,0], dilation=[1,1], groups=1}
  %b: f64[B,5,64] = reshape(%a) {shape=[B,5,64]} role=structural
  %c: f64[B,64,5] = permute(%b) {dims=[0,2,1]} role=structural
  return "logits" %c
}
"""
    assert class_maps(module(text).graph) == {"a"}
    larger = (
        '  %b: f64[B,5,9,9] = interpolate(%a) {size=[9,9], mode="nearest", align_corners=false}\n'
        "  %c: f64[B,5,4,4] = avg_pool2d(%b) {kernel=[2,2], stride=[2,2], padding=[0,0]}\n"
    )
    before, after = text.index("  %b"), text.index("  return")
    assert class_maps(module(text[:before] + larger + text[after:]).graph) == {"a"}
