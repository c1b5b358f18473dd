"""Ill-formed text: each error by its exact first line, and the line it points into."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lrpc.errors import IRError
from lrpc.ir.parser import parse_graph


def wrap(body: str) -> str:
    return f'graph @f(%x: f32[B,4]) {{\n  weight "w": f32[3,4]\n  {body}\n  return %x\n}}\n'


IN_A_GRAPH = [
    ("%y: f32[B,4] = reluu(%x)", "3:18: unknown op reluu; expected perhaps relu"),
    ("%y: f32[B,4] = zzz(%x)", "3:18: unknown op zzz; expected a row of the op table"),
    ("%y: f32[B,4] = relu(%z)", "3:23: %z is not defined; expected a value defined above"),
    (
        "%yy1: f32[B,4] = relu(%x)\n  %z: f32[B,4] = relu(%yy)",
        "4:23: %yy is not defined; expected a value defined above, perhaps %yy1",
    ),
    ("%y: f32[B,4] = relu(%y)", "3:23: %y is not defined; expected a value defined above"),
    ("%x: f32[B,4] = relu(%x)", "3:3: %x is defined twice; expected a new name"),
    (
        "%y: f33[B,4] = relu(%x)",
        "3:7: unknown dtype f33; expected one of f64, f32, bf16, f16, i64, i32, u8, bool",
    ),
    ("%y: f32[S,4] = relu(%x)", "3:11: unknown symbol S; expected an integer, B or K"),
    ("%y: f32[2.5] = relu(%x)", "3:11: found 2.5; expected an integer, B or K"),
    ("%y: f32 = relu(%x)", "3:11: found =; expected '[' and the shape"),
    ("%y: f32[B 4] = relu(%x)", "3:13: found 4; expected ']' or ','"),
    ("%y = relu(%x)", "3:6: found =; expected ':' and the type"),
    ("%y: f32[B,4] relu(%x)", "3:16: found relu; expected '=' and the op"),
    ("%y: f32[B,4] = (%x)", "3:18: found (; expected an op"),
    ("%y: f32[B,4] = relu %x", "3:23: found %x; expected '(' and the inputs"),
    ("%y: f32[B,4] = relu(%x", "4:3: found return; expected ')' or ','"),
    ("%y: f32[B,4] = relu(x)", "3:23: found x; expected a %value"),
    ("%y: f32[B,4] = relu(%)", "3:23: found '%'; expected a name after it"),
    ("%y: f32[B,4] = scale(%x) {by}", "3:31: found }; expected '='"),
    ("%y: f32[B,4] = scale(%x) {by=}", "3:32: found }; expected a number, true, false, a string, "
     "B, K or a [list]"),
    ("%y: f32[B,4] = scale(%x) {by=1, by=2}", "3:35: by is given twice; expected each name once"),
    ("%y: f32[B,4] = relu(%x) role linear", "3:32: found linear; expected '='"),
    ("%y: f32[B,4] = relu(%x) role=7", "3:32: found 7; expected a role"),
    (
        "%y: f32[B,4] = relu(%x) rule=e(eps=)",
        "3:38: found ); expected a number, true, false, a word or [numbers]",
    ),
    ("%y: f32[B,4] = relu(%x) rule=e(low=[1, x])", "3:42: found x; expected a number"),
    (
        "%y: f32[B,4] = relu(%x) loc(a, b, c)",
        "3:27: found loc(a, b, c); expected loc(module, file:line)",
    ),
    (
        '%y: f32[B,3] = linear(%x) {weight="w}',
        '3:37: unterminated string; expected a closing " on this line',
    ),
    (r'place "a\q" %x', "3:9: bad escape in a string; expected JSON escapes"),
    ("place first %x", "3:9: found first; expected the place's \"name\""),
    ('place "a" %x place "a" %x', '3:22: place "a" is given twice; expected a new name'),
    ('weight "w": f32[3]', '3:10: weight "w" is given twice; expected a new name'),
    ("wait", "3:3: found wait; expected a node, 'weight', 'place' or 'return'"),
    ("$y", "3:3: found '$y'; expected a word, number, string or %value"),
]  # fmt: skip

WHOLE = [
    ("", "1:1: found the end of the text; expected 'graph'"),
    ("graph f() {}", "1:7: found f; expected the graph's @name"),
    (
        "graph @f() {",
        "1:13: found the end of the text; expected a node, 'weight', 'place' or 'return'",
    ),
    ("graph @f() { return", "1:20: found the end of the text; expected the output's \"name\""),
    ("graph @f() {}", "1:13: found }; expected a node, 'weight', 'place' or 'return'"),
    ("graph @f() { return } x", "1:23: found x; expected nothing after the graph"),
    (
        "graph @f(%x: f32[B], %x: f32[B]) { return }",
        "1:22: %x is defined twice; expected a new name",
    ),
]  # fmt: skip

ILL_TYPED = [
    (
        "%y: f32[B,4] = add(%x)",
        "3:18: op add takes 2 inputs, got 1, at %y = add (from unknown place)",
    ),
    (
        "%y: f32[B,4] = scale(%x) loc(a.b, f.py:3)",
        "3:18: op scale misses its attribute 'by', at %y = scale (from a.b, f.py:3)",
    ),
    (
        '%z: f32[B,4] = relu(%x)\n  %y: f32[B,4] = scale(%z) {by="2"} loc(a)',
        "4:18: op scale: attribute by='2' is not of kind number, at %y = scale (from a)",
    ),
    (
        "%y: f32[B,4] = relu(%x) {by=1}",
        "3:18: op relu has no attribute 'by'; it has: none, at %y = relu (from unknown place)",
    ),
    (
        "%y: f32[B,5] = relu(%x)",
        "3:18: %y = relu (from unknown place) yields f32[B,4], but is declared f32[B,5]",
    ),
    (
        '%y: f32[B,3] = linear(%x) {weight="v"}',
        "3:18: weight 'v' is not declared in this graph, at %y = linear (from unknown place)",
    ),
]


def error_of(parse: Callable[[], object]) -> str:
    with pytest.raises(IRError) as caught:
        parse()
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [(wrap(body), message) for body, message in (*IN_A_GRAPH, *ILL_TYPED)] + WHOLE,
)
def test_ill_formed_text(text: str, message: str) -> None:
    lines = error_of(lambda: parse_graph(text, "g.lrp")).split("\n")
    assert lines[0] == f"g.lrp:{message}"
    line, column = (int(part) for part in message.split(":")[:2])
    source = text.split("\n")[line - 1]
    assert lines[1:] == [f"  {source}", " " * (column + 1) + "^"]


def test_a_long_line_is_shown_in_part() -> None:
    text = wrap(f'%y: f32[B,4] = relu(%x) {{a="{"p" * 300}", b=?, c="{"q" * 300}"}}')
    first, excerpt, caret = error_of(lambda: parse_graph(text)).split("\n")
    assert first == "<text>:3:336: found '?'; expected a word, number, string or %value"
    assert excerpt.startswith("  …ppp")
    assert excerpt.endswith("qqq…")
    assert len(excerpt) < 110
    assert excerpt[caret.index("^")] == "?"


def test_the_verifier_blames_the_node_and_not_the_text_around_it() -> None:
    body = "\n  ".join(f"%y{i}: f32[B,4] = relu(%x)" for i in range(20))
    wrong = wrap(body.replace("%y13: f32[B,4]", "%y13: f32[B,9]"))
    assert error_of(lambda: parse_graph(wrong)).startswith("<text>:16:20: %y13 = relu")
    assert len(parse_graph(wrong, verify=False).nodes) == 20
