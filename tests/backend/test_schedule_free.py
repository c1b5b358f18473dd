"""Where values and parts are freed: before and after in schedule text, each with a near miss."""

from __future__ import annotations

from lrpc.backend.schedule.free import free
from tests.support.schedules import FORWARD, FREED, same, schedule

Y = 'saved[""]["y"]: f32[B,4]'


def test_free_after_the_last_use_and_behind_saves() -> None:
    before = """
        %a: f32[B,4] = exp(%x)
        save saved[""]["a"] = %a
        %b: f32[B,4] = relu(%a)
        %c: f32[B,4] = add(%b, %b)
        return %c
    """
    after = """
        %a: f32[B,4] = exp(%x)
        save saved[""]["a"] = %a
        free %x
        %b: f32[B,4] = relu(%a)
        free %a
        %c: f32[B,4] = add(%b, %b)
        free %b
        return %c
    """
    same(free(schedule(before)), schedule(after))


def test_free_leaves_what_is_returned() -> None:
    body = "%a: f32[B,4] = exp(%x)\nreturn %x, %a"
    same(free(schedule(body)), schedule(body))


LATER = f"""
    %r: f32[K,B,4] = mul(%g, {Y})
    {{0}}
    %q: f32[K,B,4] = relu(%r)
    {{1}}
    only ledger {{{{
      book (%g, {Y}) {{{{batch=1}}}}
      {{2}}
    }}}}
    read "input" (%q)
    {{3}}
    return
"""


def test_each_kind_of_call_frees_as_early_as_it_can() -> None:
    after = LATER.format("only plain {\nfree %g\n}", "free %r", "free %g", "free %q")
    same(
        free(schedule(FORWARD, LATER.format(*[""] * 4), None)),
        schedule(FREED, after, None),
    )


def test_once_for_both_where_one_alone_does_something_between() -> None:
    before = f"""
        %r: f32[K,B,4] = mul(%g, {Y})
        {{0}}
        only ledger {{{{
          %s: f32[K,B,4] = sub(%g, %r)
        }}}}
        {{1}}
        only ledger {{{{
          book (%s, {Y}) {{{{batch=1}}}}
          {{2}}
        }}}}
        read "input" (%r)
        {{3}}
        return
    """
    after = before.format("", "free %g", "free %s", "free %r")
    same(free(schedule(FORWARD, before.format(*[""] * 4), None)), schedule(FREED, after, None))


def test_a_row_of_what_is_there_anyway_needs_no_condition() -> None:
    """It books nothing without a ledger; see above for one of what is gone there."""
    row = f"book (%g, {Y}) {{batch=1}}"
    rest = f'%r: f32[K,B,4] = mul(%g, {Y})\n{{0}}read "input" (%r)\n{{1}}return'
    before = f"only ledger {{\n{row}\n}}\n{rest.format('', '')}"
    after = f"{row}\n{rest.format('free %g' + chr(10), 'free %r' + chr(10))}"
    same(free(schedule(FORWARD, before, None)), schedule(FREED, after, None))


PARTS = """
    recompute "l.0" whole {{
      block "l.0" "l.0" recomputed["l.0"] (%x: f32[B,4] = saved[""]["y"]: f32[B,4]) {{
        %c: f32[B,4] = exp(%x)
        {5}
        save own["c"] = %c
        {0}
        return
      }}
    }}
    %r: f32[K,B,4] = mul(%g, recomputed["l.0"]["c"]: f32[B,4])
    {1}
    %q: f32[K,B,4] = relu(%r)
    {2}
    only ledger {{
      book (%q, recomputed["l.0"]["c"]: f32[B,4]) {{batch=1}}
      {3}
    }}
    read "input" (%q)
    {4}
    return
"""


def test_parts_that_are_computed_again_are_freed_like_values() -> None:
    """And a row of one that is gone without a ledger stays under its condition."""
    gone = 'free %g\nonly plain {\nfree parts "l.0"\n}'
    after = PARTS.format("free %c", gone, "free %r", 'free parts "l.0"', "free %q", "")
    found = free(schedule(FORWARD, PARTS.format(*[""] * 6), None))
    same(found, schedule(FREED, after, None))
