"""Schedules from short texts, for tests of passes."""

from __future__ import annotations

from textwrap import dedent, indent

from lrpc.backend.schedule.ir import Schedule
from lrpc.backend.schedule.parser import parse_schedule
from lrpc.backend.schedule.printer import print_schedule
from lrpc.backend.schedule.verify import verify

X = "f32[B,4]"
G = "f32[K,B,4]"
FORWARD = '%y: f32[B,4] = exp(%x)\nsave saved[""]["y"] = %y\nreturn %y'
FREED = FORWARD.replace("return", "free %x\nreturn")


def schedule(
    forward: str, relevance: str = "", ledger: str | None = "return", chunked: bool = False
) -> Schedule:
    """A forward pass of %x, and the relevance of %y at [""]["y"] from its seeds %g: a function
    without ledger and one with; where `ledger` is None, one that takes either."""

    def function(head: str, body: str) -> str:
        return f"  function {head} {{\n{indent(dedent(body).strip(), '    ')}\n  }}\n"

    text = f"schedule {'chunked ' * chunked}{{\n"
    text += function(f'"forward" forward (%x: {X})', forward)
    if relevance:
        takes = "ledger " * (ledger is None)
        text += '  target "output" "" from saved[""]["y"] {\n'
        text += function(f'"relevance_output" relevance {takes}(%g: {G})', relevance)
        if ledger is not None:
            text += function(f'"relevance_output_ledger" relevance ledger (%g: {G})', ledger)
        text += "  }\n"
    return verify(parse_schedule(text + "}\n"))


def same(found: Schedule, expected: Schedule) -> None:
    """Equal, and a schedule that verifies, prints and parses back."""
    assert print_schedule(found) == print_schedule(expected)
    assert parse_schedule(print_schedule(verify(found))) == found
