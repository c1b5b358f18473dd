"""One function for calls with a ledger and without: before and after in schedule text."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from lrpc.backend.schedule.ir import Book, Only
from lrpc.backend.schedule.join import join
from lrpc.backend.schedule.rows import rows
from lrpc.program.memory_of import open_model
from tests.support.checkpoints import compiled
from tests.support.schedules import FORWARD, same, schedule

Y = 'saved[""]["y"]: f32[B,4]'
RULE = 'role="relevance" rule=epsilon(eps=0.1) in="l"'


def test_what_both_compute_stands_once() -> None:
    """Whatever it is called; what the ledger needs beside it runs with a ledger alone."""
    plain = f"""
        %r: f32[K,B,4] = mul(%g, {Y}) {RULE}
        read "input" (%r)
        return
    """
    booked = f"""
        %one: f32[K,B,4] = mul(%g, {Y}) {RULE}
        %r: f32[K,B,4] = sub(%g, %one) {RULE}
        book (%r, {Y}) {{batch=1}}
        read "input" (%one)
        return
    """
    after = f"""
        %one: f32[K,B,4] = mul(%g, {Y}) {RULE}
        only ledger {{
          %r: f32[K,B,4] = sub(%g, %one) {RULE}
        }}
        only ledger {{
          book (%r, {Y}) {{batch=1}}
        }}
        read "input" (%one)
        return
    """
    same(join(schedule(FORWARD, plain, booked)), schedule(FORWARD, after, None))


def test_what_is_written_over_in_one_of_them_stands_twice() -> None:
    body = f"""
        %a: f32[K,B,4] = exp(%g) {RULE}
        %r: f32[K,B,4] = mul(%a, {Y}){{}} {RULE}{{}}
        read "input" (%r)
        return
    """
    row = f"\n        book (%a, {Y}) {{batch=1}}"
    after = f"""
        %a: f32[K,B,4] = exp(%g) {RULE}
        only plain {{
          %r: f32[K,B,4] = mul(%a, {Y}) over=0 {RULE}
        }}
        only ledger {{
          %r: f32[K,B,4] = mul(%a, {Y}) {RULE}
        }}
        only ledger {{
          book (%a, {Y}) {{batch=1}}
        }}
        read "input" (%r)
        return
    """
    found = join(schedule(FORWARD, body.format(" over=0", ""), body.format("", row)))
    same(found, schedule(FORWARD, after, None))


def test_relevance_keeps_its_order_and_what_comes_sooner_in_one_comes_so_in_both() -> None:
    again = f"%n: f32[B,4] = exp({Y})\n%m: f32[B,4] = relu(%n)"
    first = f"%r: f32[K,B,4] = mul(%g, {Y}) {RULE}"
    rest = '%q: f32[K,B,4] = mul(%r, %m) role="relevance" rule=pass\nread "input" (%q)\nreturn'
    row = "book (%r, %m) {batch=1}"
    plain = f"{first}\n{again}\n{rest}"
    booked = f"{again}\n{first}\n{row}\n{rest}"
    after = f"{again}\n{first}\nonly ledger {{\n  {row}\n}}\n{rest}"
    same(join(schedule(FORWARD, plain, booked)), schedule(FORWARD, after, None))


AGAIN = """
    recompute "l.0" whole {{
      block "l.0" "l.0" recomputed["l.0"] (%x: f32[B,4] = saved[""]["y"]: f32[B,4]) {{
        %c: f32[B,4] = exp(%x)
        save own["c"] = %c
        return
      }}
    }}
    {0}
"""


def test_what_reads_a_part_stays_behind_the_statement_that_computes_it_again() -> None:
    reader = '%n: f32[B,4] = relu(recomputed["l.0"]["c"]: f32[B,4])'
    first = f"%r: f32[K,B,4] = mul(%g, {Y}) {RULE}"
    rest = '%q: f32[K,B,4] = mul(%r, %n) role="relevance" rule=pass\nread "input" (%q)\nreturn'
    again = AGAIN.format(reader)
    found = join(schedule(FORWARD, f"{first}\n{again}\n{rest}", f"{again}\n{first}\n{rest}"))
    body = found.targets[0].plain.body
    assert [s.ledger for s in body if isinstance(s, Only)] == [True, True, False, False]
    same(found, found)


def test_what_reads_a_value_that_each_makes_for_itself_stays_where_each_has_it() -> None:
    """In calls without a ledger %n is written over %a, and comes sooner."""
    made = f"%a: f32[B,4] = exp({Y})"
    again = "%n: f32[B,4] = cos(%a){}\n%m: f32[B,4] = sin(%n)"
    first, row = f"%r: f32[K,B,4] = mul(%g, {Y}) {RULE}", "book (%r, %a) {batch=1}"
    rest = '%q: f32[K,B,4] = mul(%r, %m) role="relevance" rule=pass\nread "input" (%q)\nreturn'
    plain = "\n".join([made, again.format(" over=0"), first, rest])
    booked = "\n".join([made, first, row, again.format(""), rest])
    found = join(schedule(FORWARD, plain, booked))
    body = found.targets[0].plain.body
    assert [s.ledger for s in body if isinstance(s, Only)] == [False, False, True, True, True]
    same(found, found)


BLOCK = f"""
    block "l.0" "l.0" saved["l.0"] (%g: f32[K,B,4] = %g, %y: f32[B,4] = {Y}) {{{{
      %r: f32[K,B,4] = mul(%g, %y) {RULE}
      {{0}}
      return %r{{1}}
    }}}}
    {{2}}
    read "input" (%r)
    return
"""


def test_blocks_of_both_become_one() -> None:
    row = "book (%r, %y) {batch=1}"
    found = join(schedule(FORWARD, BLOCK.format("", "", ""), BLOCK.format(row, "", "")))
    only = f"only ledger {{\n{row}\n}}"
    same(found, schedule(FORWARD, BLOCK.format(only, "", ""), None))


def test_a_block_that_hands_out_more_with_a_ledger_stays_apart() -> None:
    more = f"%s: f32[K,B,4] = sub(%g, %r) {RULE}"
    row = f"book (%s, {Y}) {{batch=1}}"
    found = join(schedule(FORWARD, BLOCK.format("", "", ""), BLOCK.format(more, ", %s", row)))
    body = found.targets[0].plain.body
    assert [s.ledger for s in body if isinstance(s, Only)] == [False, True, True]
    same(found, found)


def test_a_block_that_reads_what_another_hands_out_with_a_ledger_alone_stays_apart() -> None:
    """Without a ledger that value is inside of the other."""

    def two(out: str, given: str, row: str) -> str:
        return f"""
            block "l.0" "l.0" saved["l.0"] (%g: f32[K,B,4] = %g, %y: f32[B,4] = {Y}) {{
              %m: f32[K,B,4] = mul(%g, %y) {RULE}
              %r: f32[K,B,4] = sub(%m, %g) {RULE}
              return %r{out}
            }}
            block "l.1" "l.1" saved["l.1"] (%h: f32[K,B,4] = %r, %y: f32[B,4] = {Y}{given}) {{
              %q: f32[K,B,4] = mul(%h, %y) {RULE}
              {row}
              return %q
            }}
            read "input" (%q)
            return
        """

    more = two(", %m", ", %n: f32[K,B,4] = %m", "book (%n, %y) {batch=1}")
    found = join(schedule(FORWARD, two("", "", ""), more))
    body = found.targets[0].plain.body
    assert [s.ledger for s in body if isinstance(s, Only)] == [False, True, False, True]
    same(found, found)


def test_every_row_is_booked_and_equal_ones_at_once() -> None:
    """As many times as the graph has it; no two rows one after the other have the same amount."""
    model = open_model(Path(compiled("small ViT", "attnlrp", "block").directory))
    merged = rows(model.scheduler.flat).targets[0].with_ledger.body
    found = [s for s in merged if isinstance(s, Book)]
    nodes = [n for n in model.codes[0].with_ledger.nodes if n.op == "record"]
    assert sum(s.times for s in found) == len(nodes) > len(found)
    for s, t in pairwise(found):
        assert (s.inputs, s.attr("negative")) != (t.inputs, t.attr("negative"))
