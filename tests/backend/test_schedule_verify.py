"""What the verifier of schedules finds, and what their parser says."""

from __future__ import annotations

import pytest

from lrpc.backend.schedule.parser import parse_schedule
from lrpc.backend.schedule.verify import verify
from lrpc.errors import IRError

GOOD = """
schedule chunked {
  function "l_relevance" relevance (%g: f32[K,B,4], %x: f32[B,4]) {
    %a: f32[K,B,4] = mul(%g, own["s"]: f32[B,4])
    free %g
    %b: f32[K,B,4] = mul(%a, %x) over=0
    free %a, %x
    return %b
  }
  function "forward" forward (%x: f32[B,4]) {
    save saved[""]["x"] = %x
    block "l.0" "l.0" saved["l.0"] (%x: f32[B,4] = %x) {
      %y: f32[B,4] = exp(%x)
      save own["s"] = %y
      return %y
    }
    return %y
  }
  target "output" "" from saved["l.0"]["s"] {
    function "relevance_output" relevance (%g: f32[K,B,4]) {
      recompute "l.0" rest {
      }
      %r: f32[K,B,4] = call "l_relevance" "l.0." again["l.0"]
        (%g, saved[""]["x"]: f32[B,4]) over=[0]
      free %g parts "l.0"
      read "input" (%r)
      free %r
      return
    }
    function "relevance_output_ledger" relevance ledger (%g: f32[K,B,4]) {
      book (%g, saved[""]["x"]: f32[B,4]) {batch=1}
      return
    }
  }
}
"""

FAULTS = [
    ('(%g, own["s"]', '(%z, own["s"]', "is not defined"),
    ("    free %g\n    %b", "    free %g\n    free %g\n    %b", "%g is freed twice"),
    ("mul(%a, %x) over=0", "mul(%g, %x)", "%g is read after it is freed"),
    ("mul(%a, %x) over=0", "mul(%a, %x) over=1", "over, whose memory is not the function's"),
    ("mul(%a, %x) over=0", "mul(%a, %a) over=0", "%a is written over and read twice"),
    ("mul(%a, %x) over=0", "exp(%a) over=3", "exp cannot write over its operand 3"),
    ("    free %a, %x\n    return %b", "    return %a", "read after its memory is written over"),
    ('(%g, saved[""]["x"]: f32[B,4]) over', "(%g) over", "do not fit the parameters"),
    (" over=[0]\n", "\n", "goes through arguments () in chunks; those of seeds are (0,)"),
    ('call "l_relevance"', 'call "other"', "there is no function other"),
    ('      save own["s"] = %y\n', "", 'the state has no "s" in its part "l.0"'),
    ('recompute "l.0" rest', 'recompute "l.0" whole', 'the state has no "s" in its part "l.0"'),
    ('saved[""]["x"]: f32[B,4]) {batch', 'saved[""]["x"]: f32[B,5]) {batch', "read as f32[B,5]"),
    ("relevance ledger (", "relevance (", "a row is booked without a ledger"),
    ('free %g parts "l.0"', 'free %g parts "l.1"', 'the copy of part "l.1" is dropped'),
    (
        "    free %g\n    %b",
        '    free %g\n    read "inside" (%a)\n    %b',
        "by main functions alone",
    ),
]


def test_a_schedule_that_holds() -> None:
    assert verify(parse_schedule(GOOD))


@pytest.mark.parametrize(("old", "new", "said"), FAULTS, ids=[said for _, _, said in FAULTS])
def test_faults_are_found(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(IRError) as error:
        verify(parse_schedule(GOOD.replace(old, new, 1), "it"), "chunk")
    assert said in str(error.value)
    assert "\n" not in str(error.value) or "it:" in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("schedule chunked", "graph", "it:2:1: found graph; expected 'schedule'"),
        ('again["l.0"]', 'there["l.0"]', "unknown part there"),
        ("return %b", "return 3", "found 3; expected a %value"),
    ],
)
def test_errors_of_the_text_name_their_place(old: str, new: str, said: str) -> None:
    with pytest.raises(IRError) as error:
        parse_schedule(GOOD.replace(old, new, 1), "it")
    assert said in str(error.value)
