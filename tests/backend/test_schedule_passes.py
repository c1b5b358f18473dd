"""Passes over schedules, before and after in schedule text, each with a near miss."""

from __future__ import annotations

from textwrap import dedent

import pytest

from lrpc.backend.schedule.blocks import blocks
from lrpc.backend.schedule.chunk import chunk
from lrpc.backend.schedule.in_place import in_place
from lrpc.backend.schedule.ir import Block
from lrpc.backend.schedule.outline import outline
from lrpc.backend.schedule.parser import parse_schedule
from lrpc.backend.schedule.recompute import recompute
from lrpc.backend.schedule.rows import rows
from tests.support.schedules import same, schedule

# -- in place --------------------------------------------------------------------------------------


def test_in_place_writes_over_what_nobody_reads_later() -> None:
    body = """
        %a: f32[B,4] = exp(%x)
        %b: f32[B,4] = relu(%a){}
        return %b
    """
    same(in_place(schedule(body.format(""))), schedule(body.format(" over=0")))


@pytest.mark.parametrize(
    "body",
    [
        "%b: f32[B,4] = relu(%x)\nreturn %b",  # the caller's
        "%a: f32[B,4] = exp(%x)\n%b: f32[B,4] = relu(%a)\nreturn %a, %b",
        '%a: f32[B,4] = exp(%x)\nsave saved[""]["a"] = %a\n%b: f32[B,4] = relu(%a)\nreturn %b',
        # a block was handed it
        '%a: f32[B,4] = exp(%x)\nblock "l.0" "l.0" saved["l.0"] (%a: f32[B,4] = %a) {\n'
        "  %c: f32[B,4] = exp(%a)\n  return %c\n}\n"
        "%b: f32[B,4] = relu(%a)\n%d: f32[B,4] = add(%b, %c) over=0\nreturn %d",
    ],
    ids=["parameter", "returned", "saved", "handed to a block"],
)
def test_in_place_leaves_what_others_see(body: str) -> None:
    same(in_place(schedule(body)), schedule(body))


# -- blocks and outline ----------------------------------------------------------------------------

STEPS = """
%a_{0}: f32[B,4] = exp({1}) in="layers.{0}"
%b_{0}: f32[B,4] = linear(%a_{0}) {{weight="layers.{0}.w"}} in="layers.{0}.linear"
%c_{0}: f32[B,4] = relu(%b_{0}) in="layers.{0}"
%d_{0}: f32[B,4] = sigmoid(%c_{0}) in="layers.{0}"
%e_{0}: f32[B,4] = tanh(%d_{0}) in="layers.{0}"
"""
LAST = '%f_{0}: f32[B,4] = {1}(%e_{0}) in="layers.{0}"\n'
TWO = STEPS.format(0, "%x") + LAST.format(0, "exp") + STEPS.format(1, "%f_0")
OUTLINED = """\
schedule {
  function "layers_forward" forward (%x: f32[B,4]) {
    %a: f32[B,4] = exp(%x)
    %b: f32[B,4] = linear(%a) {weight=w["w"]} in="linear"
    %c: f32[B,4] = relu(%b)
    %d: f32[B,4] = sigmoid(%c)
    %e: f32[B,4] = tanh(%d)
    %f: f32[B,4] = exp(%e)
    return %f
  }
  function "forward" forward (%x: f32[B,4]) {
    %f_0: f32[B,4] = call "layers_forward" "layers.0." saved["layers.0"] (%x)
    %f_1: f32[B,4] = call "layers_forward" "layers.1." saved["layers.1"] (%f_0)
    return %f_1
  }
}
"""


def test_equal_blocks_share_a_function() -> None:
    text = TWO + LAST.format(1, "exp") + "return %f_1"
    same(outline(blocks(schedule(text))), parse_schedule(OUTLINED))


def test_blocks_that_differ_have_functions_of_their_own() -> None:
    text = TWO + LAST.format(1, "cos") + "return %f_1"
    found = outline(blocks(schedule(text)))
    assert [f.name for f in found.functions] == ["layers_forward", "layers_forward_2"]
    same(found, found)


def test_a_short_run_stays_in_place() -> None:
    text = STEPS.format(0, "%x") + "return %e_0"
    assert not any(isinstance(s, Block) for s in blocks(schedule(text)).forward.body)


# -- recompute -------------------------------------------------------------------------------------

FORWARD = """
block "l.0" "l.0" saved["l.0"] (%x: f32[B,4] = %x) {{
  %a: f32[B,4] = exp(%x)
  {0}
  %b: f32[B,4] = relu(%a)
  save own["b"] = %b
  return %b
}}
%y: f32[B,4] = sigmoid(%b)
save saved[""]["y"] = %y
return %y
"""
RELEVANCE = """
{0}
%r: f32[K,B,4] = mul(%g, {1}["l.0"]["a"]: f32[B,4])
{2}
read "input" (%r)
return
"""


def test_recompute_makes_what_the_state_does_not_keep() -> None:
    before = schedule(FORWARD.format('save own["a"] = %a'), RELEVANCE.format("", "saved", ""))
    again = """
        recompute "l.0" rest {
          block "l.0" "l.0" recomputed["l.0"] (%x: f32[B,4] = saved[""]["x"]: f32[B,4]) {
            %a: f32[B,4] = exp(%x)
            save own["a"] = %a
            return
          }
        }"""
    after = schedule(
        'save saved[""]["x"] = %x\n' + FORWARD.format(""),
        RELEVANCE.format(dedent(again).strip(), "recomputed", ""),
    )
    needed = {"a", "b", "y"}
    same(recompute(before, {"l.0": ("b",)}, needed), after)
    same(recompute(before, {"l.0": ("a", "b")}, needed), before)  # all of it is kept


# -- rows ------------------------------------------------------------------------------------------

Y = 'saved[""]["y"]: f32[B,4]'
SAVED = '%y: f32[B,4] = exp(%x)\nsave saved[""]["y"] = %y\nreturn %y'
ROW = f"book (%g, {Y}) {{batch=1}}"


def test_rows_of_one_amount_are_booked_where_the_first_is() -> None:
    more = f"%r: f32[K,B,4] = mul(%g, {Y})\n"
    last = f"book (%r, {Y}) {{batch=1}}\n"
    before = schedule(SAVED, "return", f"{ROW}\n{more}{ROW}\n{ROW}\n{last}return")
    same(rows(before), schedule(SAVED, "return", f"{ROW} times=3\n{more}{last}return"))


@pytest.mark.parametrize(
    "between",
    [
        f"book (%g, {Y}) {{batch=1, negative=true}}",
        f"%r: f32[K,B,4] = neg(%g)\nbook (%r, {Y}) {{batch=1}}",
        # equal blocks do the same, whatever was booked before them
        f'block "l.0" "l.0" saved["l.0"] (%y: f32[B,4] = {Y}, %g: f32[K,B,4] = %g) {{\n'
        "  book (%g, %y) {batch=1}\n  return\n}",
    ],
    ids=["another sign", "another amount", "a block"],
)
def test_rows_keep_their_order(between: str) -> None:
    before = schedule(SAVED, "return", f"{ROW}\n{between}\n{ROW}\nreturn")
    same(rows(before), before)


# -- chunk -----------------------------------------------------------------------------------------


def test_chunks_go_over_what_has_seeds() -> None:
    body = """
        block "l.0" "l.0" saved["l.0"] (%y: f32[B,4] = {1}, %g: f32[K,B,4] = %g){0} {{
          %r: f32[K,B,4] = mul(%g, %y)
          return %r
        }}
        block "l.1" "l.1" saved["l.1"] (%y: f32[B,4] = {1}) {{
          %s: f32[B,4] = exp(%y)
          return %s
        }}
        return
    """
    forward = '%y: f32[B,4] = exp(%x)\nsave saved[""]["y"] = %y\nreturn %y'
    load = 'saved[""]["y"]: f32[B,4]'
    before = schedule(forward, body.format("", load))
    same(chunk(before), schedule(forward, body.format(" over=[1]", load), chunked=True))
