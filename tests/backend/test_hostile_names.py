"""What is read stays data: no name becomes code, markup or a command to the terminal."""

from __future__ import annotations

import builtins
import io
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.backend.quoting import comment, docstring, identifier, literal, quoted
from lrpc.commands.show.clusters import drawing
from lrpc.commands.show.dot import dot
from lrpc.commands.show.page import page
from lrpc.commands.show.select import Filter
from lrpc.commands.show.svg import svg
from lrpc.commands.show.text import header, table, tree
from lrpc.errors import LrpcError, ProgramError
from lrpc.ir.graph import Graph, Loc, Node, Value
from lrpc.ir.limits import NAME
from lrpc.ir.parser import parse_graph
from lrpc.ir.printer import print_graph
from lrpc.ir.types import TensorType
from lrpc.program.reference import running
from lrpc.support.terminal import Terminal
from tests.support.hostile import CLOSED, FIELDS, VALUES, attempt, attempts, filled
from tests.support.hostile_case import case
from tests.support.hostile_names import CODE, MARK, NAMES, drawn
from tests.support.program_shape import difference


@pytest.fixture(autouse=True)
def nothing_ran() -> Any:
    yield
    assert not hasattr(builtins, MARK)


# -- programs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [16, pytest.param(36, marks=pytest.mark.slow)])
def test_names_change_texts_alone(count: int) -> None:
    written = [bool(attempt(*one)) for one in attempts(count=count, seed=5)]
    assert sum(written) > len(written) // 2


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_takes_code_for_a_name(field: str) -> None:
    text = attempt({field: f'a"]\n{CODE}\n"""\n#'})
    assert bool(text) != (field in CLOSED)
    if text:
        running(text, {})


@pytest.mark.parametrize("field", VALUES)
@pytest.mark.parametrize("name", ["seed", "g"])
def test_a_value_may_have_the_name_of_a_local(field: str, name: str) -> None:
    assert attempt({field: name}, several=True)


def test_the_shape_tells_code_from_a_name() -> None:
    """The property can fail: this is what it would find."""
    text = case().text()
    for old, new in (
        ('pair(w, "enter.*")', f'pair(w, "enter.*" + {CODE} + "")'),
        ("# norm: ", f"# norm\n    {CODE}"),
        ("return norm", "return print"),
        ('"output": leave', f'"output": ({CODE}, leave)[1]'),
    ):
        assert old in text
        assert difference(text, text.replace(old, new, 1))


def test_graphs_with_such_names_are_read_back() -> None:
    for names, _, _ in attempts(count=20, seed=9):
        names = {key: name[: NAME - 1] for key, name in names.items()}  # as a text may hold
        graph = filled(names, False, "none").variants[0].module.graph
        text = print_graph(graph)
        text.encode()
        assert parse_graph(text, verify=False) == graph


@pytest.mark.parametrize(
    "name",
    [
        *("\ud800", "\udc00\ud800", "\ud83d\ude00", "a\udcff.py", "\\\udcff", '"\ud800"\\'),
        *("\\U0000d800", "\\\\U0000d800", "\U0001f600\ud83d", "\ude00\U0001f600", "\\ud800"),
    ],
)
def test_halves_of_surrogate_pairs_stay_what_they_are(name: str) -> None:
    value = Value(name, TensorType("f32", (1,)))
    node = Node(
        "relu", (value,), (replace(value, name=name + "y"),), (), name, None, Loc(name, name, 3)
    )
    graph = Graph(name, (value,), (node,), ((name, node.out),), places=((name, value),))
    text = print_graph(graph)
    assert text.isascii()
    assert parse_graph(text, verify=False) == graph
    assert print_graph(parse_graph(text, verify=False)) == text


class Tree(nn.Module):
    """A module, an input key and an output key of the user's."""

    def __init__(self, module: str, key: str, output: str) -> None:
        super().__init__()
        self.names = module, key, output
        self.add_module(module, nn.ModuleList([nn.Linear(4, 3), nn.Linear(4, 3)]))

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        module, key, output = self.names
        first, second = getattr(self, module)
        return {output: torch.relu(first(x[key])) + second(x[key]).tanh()}


@pytest.mark.parametrize(
    "name", [f'"]+{CODE}+w["', f"a\n{CODE}\n#", "a\\", "ﬁ", "class", "\x1b[2J"]
)
def test_names_of_the_users_modules(name: str) -> None:
    torch.manual_seed(0)
    model, x = Tree(name, name, "out").eval(), torch.randn(2, 4)
    model.__class__ = type(f'C"""\n{CODE}\n"""', (Tree,), {})
    program: Any = lrpc.compile(model, ({name: x},), composite="epsilon")
    state = program.forward(x)
    torch.testing.assert_close(state.outputs["out"], model({name: x})["out"])
    assert program.relevance(state, "out", at=[(1,)]).input.shape == (1, 2, 4)


def test_an_output_that_no_one_could_ask_for_is_refused() -> None:
    for name in ('a"b', "a\nb", "\x1b[2J"):
        with pytest.raises(LrpcError, match="rename that key of its outputs") as caught:
            lrpc.compile(Tree("a", "b", name).eval(), ({"b": torch.randn(2, 4)},))
        assert str(caught.value).isprintable()


def test_keys_that_python_takes_for_one_stay_two() -> None:
    """Python reads `ﬁ` as `fi`; as names of inputs they are two."""
    torch.manual_seed(0)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: dict[str, Tensor]) -> Tensor:
            return self.a(x["ﬁ"]) + self.b(x["fi"])

    model, x, y = Two().eval(), torch.randn(2, 4), torch.randn(2, 4)
    program: Any = lrpc.compile(model, ({"ﬁ": x, "fi": y},), composite="epsilon")
    state = program.forward(x, y)
    torch.testing.assert_close(state.outputs, model({"ﬁ": x, "fi": y}))
    found = program.relevance(state, at=[(0,)]).inputs
    assert list(found) == [f"x.{key}" for key in ("ﬁ", "fi")]


def test_a_list_called_between_keeps_its_blocks() -> None:
    """`between.1` is also what lrpc calls what repeats between two blocks."""

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.relu(self.a(x)) + x.tanh()) * 0.5 + x

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.between = nn.ModuleList([Step() for _ in range(3)])

        def forward(self, x: Tensor) -> Tensor:
            for step in self.between:
                x = step(x)
                x = torch.relu(x * 2 + 1).tanh() * x + x.sigmoid()
            return x

    torch.manual_seed(0)
    model, x = Model().eval(), torch.randn(2, 4)
    program: Any = lrpc.compile(model, (x,), composite="epsilon", checkpoint="block")
    state = program.forward(x)
    torch.testing.assert_close(state.outputs, model(x))
    ledger = program.relevance(state, at=[(0,)], ledger=True).ledger
    assert float(ledger.closure.max()) < 1e-5


# -- quoting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, *drawn(200, seed=1)])
def test_quoted_text_means_itself_and_stays_in_its_line(name: str) -> None:
    assert eval(quoted(name)) == name
    for line in (quoted(name), comment(name), identifier(name)):
        assert line.isprintable()
    assert identifier(name).isidentifier()
    assert identifier(name).isascii()
    exec(f"{identifier(name)} = 1  # {comment(name)}", {})
    scope: dict[str, Any] = {}
    exec(docstring(f"{comment(name)}\n{quoted(name)}") + "\nx = 1", scope)
    assert scope["x"] == 1
    assert scope["__doc__"] == f"{comment(name)}\n{quoted(name)}"


def test_only_plain_data_is_written() -> None:
    data = {"a": [1, 2.5, None, True, ("x",), float("inf")], 3: {"b": ()}}
    assert eval(literal(data)) == data

    class Odd(str):
        def __repr__(self) -> str:
            return CODE

        __str__ = __format__ = __repr__  # type: ignore[assignment]

    class Number(float):
        __repr__ = Odd.__repr__  # type: ignore[assignment]

    assert eval(literal([Odd("a"), Number(2)])) == ["a", 2.0]
    with pytest.raises(ProgramError, match="a value of type object cannot be written"):
        literal([object()])


# -- what people look at ---------------------------------------------------------------------------


def _odd_graph() -> Graph:
    graph = case().variants[0].module.graph
    odd = "</title><script>alert(1)</script>\x1b]0;title\x07\u202e[red]\x00\ud800\"'&"
    named = dict.fromkeys(("graph name", "role", "module of glue", "place"), odd)
    one = filled({**named, "value in glue": odd + "v", "input": odd + "i"}, False, "none")
    return replace(one.variants[0].module.graph, weights=graph.weights)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def test_pages_and_drawings_hold_no_markup_of_names() -> None:
    odd, usual = _odd_graph(), case().variants[0].module.graph
    tags = []
    for graph in (odd, usual):
        found = drawing(graph, Filter(), 1)
        ElementTree.fromstring(svg(graph, found))
        text = page(graph, found)
        assert text.replace("\n", "").isprintable()
        parser = _Tags()
        parser.feed(text)
        tags.append(parser.tags.count("script"))
    assert tags == [1, 1]
    assert dot(odd, Filter()).replace("\n", "").isprintable()


@pytest.mark.parametrize("forced", [True, False])
def test_terminals_obey_no_name(forced: bool) -> None:
    stream = io.StringIO()
    colours = "truecolor" if forced else None
    terminal = Terminal(file=stream, force_terminal=forced, width=200, color_system=colours)
    graph = _odd_graph()
    nodes = list(enumerate(graph.nodes))
    header(graph, terminal)
    terminal.print(tree(nodes, 3))
    terminal.print(table(nodes))
    terminal.print("error: \x1b[2J\x9b31m\u202e", markup=False)
    said = stream.getvalue()
    for sign in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e", "\x00", "\ud800"):
        assert sign not in said
    for text in ("\\x1b]0;title", "[red]"):
        assert text in said
    assert ("\x1b[" in said) == forced
