"""Applications of rules become functions: before and after in schedule text, with near misses."""

from __future__ import annotations

import pytest

from lrpc.backend.schedule.applications import applications
from lrpc.backend.schedule.free import free
from lrpc.backend.schedule.ir import Block, Call, Schedule
from lrpc.backend.schedule.outline import outline
from tests.support.schedules import FORWARD, FREED, same, schedule

Y = 'saved[""]["y"]: f32[B,4]'
PLACE = 'rule=epsilon(eps=0.1) in="l"'
RULE = f'role="relevance" {PLACE}'


def passed(relevance: str) -> Schedule:
    """Freed, and with applications as blocks."""
    return applications(free(schedule(FORWARD, relevance, None)))


def test_an_application_is_a_block_with_the_rows_between() -> None:
    """What arrives and what leaves is booked outside."""
    found = passed(f"""
        book (%g, {Y}) {{batch=1, kind="out"}} {PLACE}
        %a: f32[K,B,4] = stab_mul(%g, {Y}) {{eps=0.1}} {RULE}
        only ledger {{
          %b: f32[K,B,4] = sub(%g, %a) {RULE}
          book (%b, {Y}) {{batch=1, kind="epsilon"}} {PLACE}
        }}
        %c: f32[K,B,4] = mul(%a, {Y}) over=0 {RULE}
        book (%c, {Y}) {{batch=1, kind="in"}} {PLACE}
        read "input" (%c)
        return
    """)
    after = f"""
        book (%g, {Y}) {{batch=1, kind="out"}} {PLACE}
        block "l#1" "l" saved[""] (%g: f32[K,B,4] = %g, %y: f32[B,4] = {Y}) rule="epsilon" {{
          %a: f32[K,B,4] = stab_mul(%g, %y) {{eps=0.1}} {RULE}
          only ledger {{
            %b: f32[K,B,4] = sub(%g, %a) {RULE}
            book (%b, %y) {{batch=1, kind="epsilon"}} {PLACE}
            free %b
          }}
          %c: f32[K,B,4] = mul(%a, %y) over=0 {RULE}
          free %a
          return %c
        }}
        free %g
        book (%c, {Y}) {{batch=1, kind="in"}} {PLACE}
        read "input" (%c)
        free %c
        return
    """
    same(found, schedule(FREED, after, None))


TWO = f"""
    {{0}}
    %a: f32[K,B,4] = stab_mul({{1}}, {Y}) {{{{eps=0.1}}}}{{2}} {RULE}
    %c: f32[K,B,4] = mul(%a, {Y}) {{3}}
    {{4}}
    read "input" (%c)
    return
"""


def blocks_of(found: Schedule) -> list[Block]:
    return [s for s in found.targets[0].plain.body if isinstance(s, Block)]


@pytest.mark.parametrize(
    ("row", "lone"),
    [("", RULE.replace("0.1", "0.2")), ("", RULE.replace('"l"', '"k"'))],
    ids=["another rule", "another place"],
)
def test_what_is_of_another_application_stays_in_place(row: str, lone: str) -> None:
    assert blocks_of(passed(TWO.format("", "%g", "", RULE, row)))
    assert not blocks_of(passed(TWO.format("", "%g", "", lone, row)))


def test_what_it_writes_over_it_is_given_for_good() -> None:
    own = '%s: f32[K,B,4] = exp(%g) role="relevance" rule=pass'
    (given,) = blocks_of(passed(TWO.format(own, "%s", " over=0", RULE, "")))
    (lent,) = blocks_of(passed(TWO.format(own, "%s", "", RULE, "")))
    assert (given.gives, lent.gives) == ((0,), ())


def test_a_result_that_the_ledger_alone_needs_later_is_freed_outside() -> None:
    row = f"only ledger {{\nbook (%a, {Y}) {{batch=1}}\n}}"
    found = passed(TWO.format("", "%g", "", RULE, row))
    (block,) = blocks_of(found)
    assert [v.name for v in block.results] == ["a", "c"]
    same(found, found)


def test_what_is_gone_without_a_ledger_is_no_argument() -> None:
    first = f'%n: f32[B,4] = exp({Y})\n%s: f32[K,B,4] = mul(%g, %n) role="relevance" rule=pass'
    row = f'only ledger {{\nbook (%c, %n) {{batch=1, kind="epsilon"}} {PLACE}\n}}'
    found = passed(TWO.format(first, "%s", "", RULE, row))
    assert not blocks_of(found)
    same(found, found)
    first = first.replace("mul(%g, %n)", "exp(%g)").replace("%s:", "%s_: f32[B,4] = relu(%n)\n%s:")
    row = row.replace("%n)", "%s_)")
    assert not blocks_of(passed(TWO.format(first, "%s", "", RULE, row)))


def test_what_is_freed_before_an_application_stays_before_it() -> None:
    """Under its condition too."""
    found = passed(f"""
        only ledger {{
          %e: f32[K,B,4] = exp(%g)
          book (%e, {Y}) {{batch=1}}
        }}
        %a: f32[K,B,4] = stab_mul(%g, {Y}) {{eps=0.1}} {RULE}
        only ledger {{
          book (%a, {Y}) {{batch=1, kind="epsilon"}} {PLACE}
        }}
        %c: f32[K,B,4] = mul(%a, {Y}) {RULE}
        read "input" (%c)
        return
    """)
    assert len(blocks_of(found)) == 1
    same(found, found)


def test_equal_applications_share_a_function() -> None:
    one = f"""
        %a_{{0}}: f32[K,B,4] = stab_mul({{1}}, {Y}) {{{{eps=0.1}}}} {RULE}
        %c_{{0}}: f32[K,B,4] = mul(%a_{{0}}, {Y}) over=0 {RULE}
    """
    other = one.replace('in="l"', 'in="k"')
    end = 'read "input" (%c_2)\nreturn'
    found = outline(passed(one.format(1, "%g") + other.format(2, "%c_1") + end))
    calls = [s for s in found.targets[0].plain.body if isinstance(s, Call)]
    assert [(s.function, s.prefix) for s in calls] == [("epsilon", "l."), ("epsilon", "k.")]
    assert [(f.name, f.half) for f in found.functions] == [("epsilon", "rule")]
    same(found, found)
    unlike = other.replace("eps=0.1}}", "eps=0.3}}")
    found = outline(passed(one.format(1, "%g") + unlike.format(2, "%c_1") + end))
    assert [f.name for f in found.functions] == ["epsilon", "epsilon_2"]
