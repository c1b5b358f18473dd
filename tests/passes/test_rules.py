"""assign_rules and check_coverage: where relevance can arrive there is a rule, or an error."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lrpc.errors import IRError, RuleError
from lrpc.ir.graph import Module, Node, Rule
from passes import MARKING, AssignRules, CheckCoverage, annotating, run_pipeline
from passes.assign_rules import class_maps
from tests.support.graphs import check_text, module, rewritten


@dataclass(frozen=True)
class Only:
    """A composite with one rule, for some operations."""

    ops: tuple[str, ...]
    refused: tuple[str, ...] = ()

    def rule_for(self, node: Node, first: bool, classes: bool) -> Rule | None:
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
