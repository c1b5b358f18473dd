"""Hostile graph texts: linear time, limits that say where they are, and never a traceback."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lrpc.errors import IRError
from lrpc.ir import limits, verifier
from lrpc.ir.graph import Graph, Loc, Node, Rule, Value
from lrpc.ir.parser import parse_graph, read_graph
from lrpc.ir.printer import print_graph
from lrpc.ir.types import B, TensorType
from lrpc.support.escaping import visible
from tests.fuzz.graphs import case
from tests.fuzz.report import Report

HEAD = "graph @g(%x: f32[1]) { "


def node(attrs: str, op: str = "sum") -> str:
    return f"{HEAD}%y: f32[1] = {op}(%x) {{{attrs}}} return %y }}"


BOMBS = {
    "digits and a letter": ("1" * 200_000 + "x", "1:1: found '1111111111111111111111111111111111"),
    "digits": ("1" * 200_000, "1:1: a number of 200,000 characters; at most 40"),
    "loc( again and again": ("loc(" * 50_000, "1:1: a name of 200,000 characters; at most 12,288"),
    "loc( on many lines": ("loc(\n" * 50_000, "1:1: unterminated loc(; expected a closing ) on"),
    "spaces in loc()": (
        f"{HEAD}%y: f32[1] = relu(%x) loc({' ' * 12_000}a b) return %y }}",
        "1:46: found loc( ",
    ),
    "a string of backslashes": ('%"' + "\\\\" * 100_000, "1:2: unterminated string; expected a "),
    "a number longer than any": (node(f"by={'1' * 41}", "scale"), "1:51: a number of 41 charact"),
    "deep lists": (node(f"dims={'[' * 3000}{']' * 3000}"), "1:59: more than 8 lists inside each"),
    "a long product": (
        f"graph @g(%x: f32[{'*'.join('B' * 20_000)}]) {{ return %x }}",
        "1:146: more than 64 factors of one extent",
    ),
    "many extents": (
        f"graph @g(%x: f32[{','.join('1' * 65)}]) {{ return %x }}",
        "1:14: 65 extents; at most 64",
    ),
    "a negative extent": (
        "graph @g(%x: f32[-1]) { return %x }",
        "1:18: found -1; expected an extent from 0 to 2^63 - 1",
    ),
    "an extent beyond 64 bits": (
        f"graph @g(%x: f32[2*{2**62}*2]) {{ return %x }}",
        "1:18: found 18446744073709551616; expected an extent from 0 to 2^63 - 1",
    ),
    "a long name": (
        f"{HEAD}return %{'数' * 20_000} }}",
        "1:31: a name of 20,001 characters; at mo",
    ),
    "many near names": (
        "graph @g("
        + ", ".join(f"%{'a' * 90}{i}: f32[1]" for i in range(3000))
        + f") {{ return %{'a' * 90}b }}",
        f"1:313909: %{'a' * 60}… is not defined; expected a value defined above",
    ),
    "half an escape": (f'{HEAD}place "\\U0000d8" %x return %x }}', "1:30: bad escape in a str"),
}


@pytest.mark.parametrize(("text", "said"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_at_its_place_and_at_once(text: str, said: str) -> None:
    begin = time.process_time()
    with pytest.raises(IRError) as caught:
        parse_graph(text)
    assert time.process_time() - begin < 2  # what is quadratic takes minutes
    assert str(caught.value).startswith(f"<text>:{said}")
    assert len(str(caught.value)) < 1000


def test_the_verifier_visits_each_node_once(monkeypatch: pytest.MonkeyPatch) -> None:
    visits = 0

    def counted(*args: object) -> tuple[TensorType, ...]:
        nonlocal visits
        visits += 1
        return original(*args)  # type: ignore[arg-type]

    original = verifier.infer
    monkeypatch.setattr(verifier, "infer", counted)
    count = 2000
    lines = "".join(f"%x{i + 1}: f32[1] = relu(%x{i})\n" for i in range(count))
    with pytest.raises(IRError, match=rf"^<text>:{count + 2}:14: %z = relu .* declared f32\[2\]"):
        parse_graph(f"graph @g(%x0: f32[1]) {{\n{lines}%z: f32[2] = relu(%x0)\nreturn %z }}")
    assert visits == count + 1


@pytest.mark.parametrize(
    ("op", "attrs", "said"),
    [
        ("compare_scalar", 'kind="no", value=1', "kind='no' is not one of gt, ge, lt, le, eq, ne"),
        ("gelu", 'approximate="x"', "approximate='x' is not one of none, tanh"),
        ("cast", 'dtype="f33"', "dtype='f33' is not of kind dtype"),
        ("scale", f"by={2**70}", f"by={2**70} is not of kind number"),
        ("sum", "dims=[true], keepdim=true", "dims=(True,) is not of kind axes"),
        ("avg_pool2d", "kernel=[2,0]", "kernel=(2, 0) is not of kind counts"),
        ("reshape", f"shape=[{2**62}*B*B*B*2]", "is not of kind dims"),
        ("softmax", "dim=7", "dim=7 is no axis of f32[1]"),
        ("deform_sample", "levels=[[1,2,3]]", "takes 3 inputs, got 1"),
    ],
)
def test_attributes_are_checked_before_torch_sees_them(op: str, attrs: str, said: str) -> None:
    with pytest.raises(IRError) as caught:
        parse_graph(node(attrs, op))
    assert said in str(caught.value).partition("\n")[0]


def test_false_is_not_taken_for_a_zero_that_was_taken_before() -> None:
    text = "graph @g(%x: f32[1,2]) {{ %y: f32[2,1] = permute(%x) {{dims=[1,{}]}} return %y }}"
    parse_graph(text.format("0"))
    with pytest.raises(IRError, match=r"dims=\(1, False\) is not of kind order"):
        parse_graph(text.format("false"))


def test_words_of_the_grammar_as_names_come_back() -> None:
    x, y = (Value(name, TensorType("f32", (B,))) for name in ("loc", "return"))
    made = Node("relu", (x,), (y,), (), "loc", Rule("loc", (("loc", "loc"),)), Loc("loc", "loc", 1))
    graph = Graph("loc", (x,), (made,), (("return", y),), (), (("place", y),))
    assert parse_graph(print_graph(graph)) == graph


def test_graphs_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.lrp").write_bytes(b"graph @\xe9")
    (tmp_path / "large.lrp").write_bytes(b" " * (limits.FILE + 1))
    os.mkfifo(tmp_path / "pipe.lrp")
    for name, why in {
        "gone.lrp": "no such file or directory",
        "": "is a directory",
        "latin.lrp": "not UTF-8 text",
        "large.lrp": "larger than 16,777,216 bytes",
        "pipe.lrp": "not a regular file",
        "/dev/zero": "not a regular file",
        "a\0b": "not a name of a file",
    }.items():
        with pytest.raises(IRError) as caught:
            read_graph(tmp_path / name)
        told = visible(str(tmp_path / name))
        assert str(caught.value) == f"{told}: {why}; expected a graph in its text form"


def test_mutated_graphs_are_refused_in_a_line_or_come_back() -> None:
    report = Report()
    report.run(case, 4000, seed=20)
    assert not report.failures, report.failures
    assert report.outcomes["refused by the verifier"] > 500
    assert report.outcomes["taken"] > 100
