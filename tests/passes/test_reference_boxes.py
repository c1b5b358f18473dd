"""Reference boxes are detached however the model's code passes them on; other values are not."""

from __future__ import annotations

import pytest

from lrpc.errors import RuleError
from lrpc.rules.composite import composite
from passes import MARKING, AssignRules, MarkDeformable, run_pipeline
from passes.lower_relevance import LowerRelevance
from tests.support.graphs import module, rewritten

# The next layer samples around the detached box; `later` reads the box before it was detached.
BOXES = """
graph @g(%value: f64[B,6,2,4], %delta: f64[B,5,{n}], %weight: f64[B,5,2,1,1]) {{
  %box: f64[B,5,{n}] = {op}(%delta)
  %anchor: f64[B,5,{n}] = detach(%box)
  %xy: f64[B,5,2] = slice(%anchor) {{dim=-1, start=0, stop=2, step=1}}
  %spread: f64[B,5,1,1,1,2] = reshape(%xy) {{shape=[B,5,1,1,1,2]}}
  %loc: f64[B,5,2,1,1,2] = expand(%spread) {{shape=[B,5,2,1,1,2]}}
  %o: f64[B,5,8] = deform_sample(%value, %loc, %weight) {{levels=[[2,3]]}}
  %later: f64[B,5,{n}] = add({read}, %delta)
  return "o" %o, "box" %box, "later" %later
}}
"""


def after(n: int, op: str) -> str:
    """What `later` reads once the pass has run."""
    given = module(BOXES.format(n=n, op=op, read="%box"))
    graph = rewritten(MarkDeformable(), given).graph
    assert dict(graph.outputs)["box"].name == "box"  # an output stays what the model returns
    return graph.producers["later"].inputs[0].name


def test_later_uses_of_a_box_read_the_detached_one() -> None:
    assert after(4, "sigmoid") == "anchor"


@pytest.mark.parametrize(("n", "op"), [(4, "tanh"), (8, "sigmoid")])
def test_what_is_no_box_keeps_its_uses(n: int, op: str) -> None:
    assert after(n, op) == "box"


def test_axes_counted_from_the_front_are_refused() -> None:
    text = """
    graph @g(%x: f64[B,3,4]) {
      %y: f64[B,3,4] = flip(%x) {dims=[1]}
      mark "y" %y
      return %y
    }
    """
    steps = (*MARKING[1:], AssignRules(composite("epsilon")))  # without canonicalize
    marked = run_pipeline(module(text), steps)
    with pytest.raises(RuleError, match=r"^%y = flip counts its axis from the front, at "):
        LowerRelevance("y", ()).run(marked)
