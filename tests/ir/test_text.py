"""The text form: parse(print(g)) == g."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpc.errors import IRError
from lrpc.ir.builder import Builder
from lrpc.ir.graph import Attr, Graph, Loc, Node, Rule, Value
from lrpc.ir.ops import TABLE
from lrpc.ir.parser import parse_graph
from lrpc.ir.printer import print_graph, print_loc, print_rule
from lrpc.ir.types import DTYPES, Sym, TensorType
from lrpc.ir.verifier import verify
from tests.support.op_samples import SAMPLES, Sample

WORDS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
NAMES = WORDS | st.text(st.characters(codec="utf-8"), max_size=12)
NUMBERS = st.integers() | st.floats(allow_nan=False)
SYMS = st.builds(Sym, st.integers(1, 99), st.integers(1, 2), st.integers(0, 2))
ATTRS: st.SearchStrategy[Attr] = st.recursive(
    NUMBERS | st.booleans() | NAMES | SYMS, lambda a: st.lists(a, max_size=3).map(tuple)
)
SETTINGS = NUMBERS | st.booleans() | NAMES | st.lists(NUMBERS, max_size=3).map(tuple)
RULES = st.builds(
    Rule,
    WORDS,
    st.dictionaries(WORDS, SETTINGS, max_size=3).map(lambda d: tuple(d.items())),
)
LOCS = st.builds(Loc, NAMES | st.just("encoder.layers.0"), NAMES, st.integers(0, 9999))
TYPES = st.builds(
    TensorType, st.sampled_from(list(DTYPES)), st.lists(st.integers(0, 99) | SYMS).map(tuple)
)


@st.composite
def built_graphs(draw: st.DrawFn) -> Graph:
    """A graph that verifies: samples of the op table, fed with each other's values."""
    builder = Builder({})
    inputs: list[Value] = []
    known: list[Value] = []
    for sample in draw(st.lists(st.sampled_from(SAMPLES), max_size=12)):
        operands = []
        for kind in sample.inputs:
            fitting = [v for v in known if v.type == kind]
            if not fitting or draw(st.booleans()):
                fitting = [Value(builder.name(draw(WORDS)), kind)]
                inputs += fitting
                known += fitting
            operands.append(draw(st.sampled_from(fitting)))
        known += _emit(builder, sample, operands, draw)
    ends = draw(st.lists(st.sampled_from(known), max_size=3)) if known else []
    names = draw(st.lists(NAMES, min_size=len(ends), max_size=len(ends), unique=True))
    named = tuple(zip(names, ends, strict=True))
    weights = tuple(builder.weights.items())
    return Graph(draw(NAMES), tuple(inputs), tuple(builder.nodes), named, weights, named[::-1])


def _emit(
    builder: Builder, sample: Sample, operands: list[Value], draw: st.DrawFn
) -> tuple[Value, ...]:
    prefix = f"layers.{len(builder.nodes)}."
    builder.weights.update((prefix + key, kind) for key, kind in sample.weights.items())
    return builder.op(
        sample.op,
        *operands,
        hint=draw(WORDS),
        role=draw(st.just("") | WORDS),
        rule=draw(st.none() | RULES),
        loc=draw(st.none() | LOCS),
        **sample.attrs,
        **sample.names(prefix),
    )


@settings(deadline=None, max_examples=100)
@given(built_graphs())
def test_a_graph_that_verifies_comes_back_equal(graph: Graph) -> None:
    verify(graph)
    text = print_graph(graph)
    assert parse_graph(text) == graph
    assert print_graph(parse_graph(text)) == text


@settings(deadline=None, max_examples=150)
@given(NAMES, TYPES, st.dictionaries(NAMES, ATTRS, max_size=4), NAMES, RULES | st.none(), LOCS)
def test_any_node_comes_back_equal_with_the_same_types_of_attributes(
    name: str, kind: TensorType, attrs: dict[str, Attr], op: str, rule: Rule | None, loc: Loc
) -> None:
    value = Value(name, kind)
    node = Node(op, (), (value,), tuple(attrs.items()), op, rule, loc)
    graph = Graph(name, (), (node,), ((op, value),), ((name, kind),), ((name, value),))
    back = parse_graph(print_graph(graph), verify=False)
    assert back == graph
    assert repr(back) == repr(graph)  # 1 is not 1.0, nor True


@pytest.mark.parametrize("op", TABLE)
def test_every_row_of_the_op_table_has_a_sample_that_prints_and_parses(op: str) -> None:
    graphs = [sample.graph() for sample in SAMPLES if sample.op == op]
    assert graphs, f"tests/support/op_samples.py has no sample of op {op}"
    for graph in graphs:
        assert parse_graph(print_graph(verify(graph))) == graph


DESIGN = """\
graph @encoder_layer(%src: f32[B,6380,256], %pos: f32[B,6380,256], %ref: f32[B,6380,3,2]) {
  %a: f32[B,6380,256] = linear(%src) {weight="self_attn.output_proj.weight"} role=linear \
rule=epsilon(eps=1e-06) loc(layers.0.self_attn)
  %r: f32[B,6380,256] = add(%src, %a) role=residual rule=epsilon(eps=1e-06) loc(layers.0)
  %n: f32[B,6380,256] = layer_norm(%r) {eps=1e-05} role=layer_norm \
rule=detach_sigma(eps=1e-06) loc(layers.0.norm1)
  return %n
}
"""


def test_the_example_of_the_design_is_the_canonical_text() -> None:
    graph = parse_graph(DESIGN, verify=False)
    assert print_graph(graph) == DESIGN
    assert graph.nodes[0].rule == Rule("epsilon", (("eps", 1e-6),))
    assert graph.nodes[0].loc == Loc("layers.0.self_attn")
    assert graph.outputs == (("output", graph.nodes[2].out),)


def test_comments_and_line_breaks_do_not_matter() -> None:
    text = (
        "# head\ngraph @f(%x: f32[B])\n{ # inputs\n\n%y: f32[B] =\n relu(%x) # y\nreturn %y } # end"
    )
    assert print_graph(parse_graph(text)) == (
        "graph @f(%x: f32[B]) {\n  %y: f32[B] = relu(%x)\n  return %y\n}\n"
    )


def test_a_hash_inside_a_string_is_no_comment() -> None:
    graph = parse_graph('graph @f(%x: f32[B]) { place "a # b" %x return }')
    assert graph.places == (("a # b", graph.inputs[0]),)
    assert parse_graph('graph @f(%x: f32[B]) { mark "a # b" %x return }') == graph  # as before


@pytest.mark.parametrize(
    ("loc", "text"),
    [
        (Loc("layers.0", "resnet.py", 12), "loc(layers.0, resnet.py:12)"),
        (Loc("", "models/resnet.py", 12), "loc(models/resnet.py:12)"),
        (Loc("0.conv"), "loc(0.conv)"),
        (Loc("", "", 7), "loc(:7)"),
        (Loc("a (b)", "my file.py", 1), 'loc("a (b)", "my file.py":1)'),
    ],
)
def test_places(loc: Loc, text: str) -> None:
    assert print_loc(loc) == text
    graph = parse_graph(f"graph @f(%x: f32[2]) {{ %y: f32[2] = relu(%x) {text} return }}")
    assert graph.nodes[0].loc == loc


def test_rule_parameters_are_bare_unless_they_would_read_as_something_else() -> None:
    rule = Rule("split", (("by", "ratio"), ("k", "true"), ("n", "inf"), ("on", False), ("e", 1)))
    assert print_rule(rule) == 'split(by=ratio, k="true", n="inf", on=false, e=1)'


def test_not_a_number_comes_back() -> None:
    value = Value("y", TensorType("f32", (2,)))
    node = Node("full", (), (value,), (("shape", (2,)), ("value", math.nan), ("dtype", "f32")))
    graph = Graph("f", (), (node,), ())
    assert parse_graph(print_graph(graph)) == graph


def test_an_attribute_without_a_text_form_is_refused() -> None:
    value = Value("y", TensorType("f32", (2,)))
    node = Node("full", (), (value,), (("shape", [2]),))  # type: ignore[arg-type]
    with pytest.raises(IRError, match=r"^an attribute of type list has no text form: \[2\]$"):
        print_graph(Graph("f", (), (node,), ()))


def test_large_graphs_are_quick() -> None:
    builder = Builder({"w": TensorType("f32", (4, 4))})
    x = value = Value("x", TensorType("f32", (2, 4)))
    rule, loc = (
        Rule("epsilon", (("eps", 1e-6),)),
        Loc("encoder.layers.0.linear1", "deformable.py", 9),
    )
    for _ in range(6000):
        (value,) = builder.op("linear", value, weight="w", role="linear", rule=rule, loc=loc)
    graph = Graph("f", (x,), tuple(builder.nodes), (("y", value),), tuple(builder.weights.items()))
    start = time.process_time()
    assert parse_graph(print_graph(graph)) == graph
    assert time.process_time() - start < 4  # 0.7 s on an idle machine


def test_equality_is_not_vacuous() -> None:
    graph = SAMPLES[0].graph()
    assert parse_graph(print_graph(replace(graph, name="other"))) != graph
