"""What the verifier of schedules finds, and what their parser says."""

from __future__ import annotations

import pytest

from lrpc.backend.schedule.parser import parse_schedule
from lrpc.backend.schedule.printer import print_schedule
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
      %r: f32[K,B,4] = call "l_relevance" "l.0." recomputed["l.0"]
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
        ('recomputed["l.0"]', 'there["l.0"]', "unknown part there"),
        ("return %b", "return 3", "found 3; expected a %value"),
    ],
)
def test_errors_of_the_text_name_their_place(old: str, new: str, said: str) -> None:
    with pytest.raises(IRError) as error:
        parse_schedule(GOOD.replace(old, new, 1), "it")
    assert said in str(error.value)


ONE = """
schedule {
  function "epsilon" rule ledger (%g: f32[K,B,4], %x: f32[B,4]) {
    %a: f32[K,B,4] = mul(%g, %x) over=0
    only ledger {
      book (%a, %x) {batch=1} times=2
    }
    free %g
    return %a
  }
  function "l_relevance" relevance ledger (%g: f32[K,B,4], %x: f32[B,4]) {
    %e: f32[K,B,4] = exp(%g)
    %r: f32[K,B,4] = call "epsilon" w["k."] own (%e, %x) gives=[0]
    free %e, %x
    return %r
  }
  function "forward" forward (%x: f32[B,4]) {
    %y: f32[B,4] = exp(%x)
    save saved[""]["y"] = %y
    return %y
  }
  target "output" "" from saved[""]["y"] {
    function "relevance_output" relevance ledger (%g: f32[K,B,4]) {
      %r: f32[K,B,4] = call "l_relevance" "l.0." saved[""] (%g, saved[""]["y"]: f32[B,4])
      only plain {
        free %g
      }
      read "input" (%r)
      only ledger {
        book (%g, saved[""]["y"]: f32[B,4]) {batch=1}
        free %g
      }
      free %r
      return
    }
  }
}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("gives=[0]", "", "%a = mul"),
        (
            "    free %e, %x",
            "    %f: f32[K,B,4] = relu(%e)\n    free %e, %x",
            "%e is read after its",
        ),
        ("own (%e, %x)", "own (%g, %x)", "gives away what is not the caller's"),
        (
            "only plain {\n        free %g",
            "only plain {\n        free %r",
            "%r is read after it is freed",
        ),
        ('      read "input" (%r)', "      book (%g, %y) {batch=1}", "is not defined"),
        ("relevance ledger (%g: f32[K,B,4]) {", "relevance (%g: f32[K,B,4]) {", "wants a ledger"),
        ("free %r\n", "free %r, %g\n", "%g is freed twice"),
    ],
)
def test_faults_under_conditions_and_of_what_is_given_are_found(
    old: str, new: str, said: str
) -> None:
    assert verify(parse_schedule(ONE)) == parse_schedule(print_schedule(parse_schedule(ONE)))
    assert old in ONE
    with pytest.raises(IRError) as error:
        verify(parse_schedule(ONE.replace(old, new, 1)))
    assert said in str(error.value)


def test_a_row_of_what_is_gone_without_a_ledger_is_found() -> None:
    """Its arguments are read in any case."""
    row = 'book (%g, saved[""]["y"]: f32[B,4]) {batch=1}'
    wrong = ONE.replace(f"only ledger {{\n        {row}", f"{row}\n      only ledger {{")
    assert wrong != ONE
    with pytest.raises(IRError, match="%g is read after it is freed"):
        verify(parse_schedule(wrong))


def test_conditions_have_names() -> None:
    with pytest.raises(IRError, match="unknown condition sometimes; expected ledger or plain"):
        parse_schedule(ONE.replace("only plain", "only sometimes"), "it")


TWICE = """
schedule {
  function "l_relevance" relevance (%g: f32[K,B,4]) {
    %a: f32[K,B,4] = mul(%g, own["s"]: f32[B,4]) over=0
    free %g
    return %a
  }
  function "forward" forward (%x: f32[B,4], %z: f32[B,5]) {
    save saved["l.0"]["s"] = %x
    save saved["l.1"]["s"] = %x
    return %x
  }
  target "output" "" from saved["l.0"]["s"] {
    function "relevance_output" relevance (%g: f32[K,B,4]) {
      %e: f32[K,B,4] = exp(%g)
      %r: f32[K,B,4] = call "l_relevance" "l.0." saved["l.0"] (%e) gives=[0]
      free %e, %g
      %d: f32[K,B,4] = call "l_relevance" "l.1." saved["l.1"] (%r) gives=[0]
      free %r
      read "input" (%d)
      free %d
      return
    }
    function "relevance_output_ledger" relevance ledger (%g: f32[K,B,4]) {
      return
    }
  }
}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('saved["l.1"]["s"] = %x', 'saved["l.2"]["s"] = %x', 'has no "s" in its part "l.1"'),
        ('saved["l.1"]["s"] = %x', 'saved["l.1"]["s"] = %z', "is f32[B,5], read as f32[B,4]"),
        ('saved["l.1"] (%r) gives=[0]', 'saved["l.1"] (%r)', "memory is not the function's"),
        ('saved["l.1"] (%r)', 'saved["l.1"] (%g)', "%g is read after it is freed"),
    ],
)
def test_a_second_call_is_held_as_the_first_is(old: str, new: str, said: str) -> None:
    assert verify(parse_schedule(TWICE))
    assert old in TWICE
    with pytest.raises(IRError) as error:
        verify(parse_schedule(TWICE.replace(old, new, 1)))
    assert said in str(error.value)
