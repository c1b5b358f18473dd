"""Parses the text form of a graph.

graph   = "graph" @name "(" [typed, …] ")" "{" (weight | node | mark)* return "}"
weight  = "weight" string ":" type
node    = [typed, … "="] op "(" [%value, …] ")" ["{" key "=" attr, … "}"] ["role=" word]
          ["rule=" word ["(" key "=" setting, … ")"]] ["loc(" [module] [, file ":" line] ")"]
mark    = "mark" string %value
return  = "return" [%value | string %value, …]
typed   = %value ":" type;  type = dtype "[" dim, … "]";  dim = factors of integers, B, K
setting = number | "[" number, … "]" | "true" | "false" | word
attr    = number | "true" | "false" | string | dim | "[" attr, … "]"
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from lrpc.errors import IRError
from lrpc.ir.cursor import Cursor
from lrpc.ir.graph import Attr, Graph, Loc, Node, Rule, Setting, Value
from lrpc.ir.lexer import STRING, Source, Token
from lrpc.ir.ops import TABLE
from lrpc.ir.printer import BARE_LOC
from lrpc.ir.types import DTYPES, B, Dim, K, TensorType
from lrpc.ir.verifier import verify as verify_graph

SYMBOLS = {"B": B, "K": K}
BOOLS = {"true": True, "false": False}
T = TypeVar("T")
_PART = rf"(?:{STRING}|{BARE_LOC})"
LOC = re.compile(
    rf"loc\(\s*(?:(?P<module>{_PART})\s*(?=[,)]))?,?\s*"
    rf"(?:(?P<file>{_PART})?:(?P<line>\d+)\s*)?\)"
)


def parse_graph(text: str, file: str = "<text>", verify: bool = True) -> Graph:
    """The graph that `text` stands for; with `verify`, checked against the op table as well.

    Raises IRError whose first line is `file:line:column: what; expected …`.
    """
    source = Source(text, file)
    parser = _Parser(source, known_ops_only=verify)
    graph = parser.graph()
    if verify:
        _verify(graph, source, parser.places)
    return graph


def _verify(graph: Graph, source: Source, places: list[int]) -> None:
    """Verify; on failure, halve the program down to the node that is to blame."""
    try:
        verify_graph(graph)
    except IRError as error:
        body = replace(graph, outputs=(), marks=())
        good, bad = 0, len(graph.nodes)
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                verify_graph(body.with_nodes(graph.nodes[:middle]))
                good = middle
            except IRError:
                bad = middle
        raise source.error(places[bad - 1], str(error)) from None


class _Parser(Cursor):
    """Recursive descent; `places` has the offset of each node's op."""

    def __init__(self, source: Source, known_ops_only: bool) -> None:
        super().__init__(source)
        self.places: list[int] = []
        self._known_ops_only = known_ops_only
        self._values: dict[str, Value] = {}

    def graph(self) -> Graph:
        self.expect("graph")
        name = self.unquoted(self.take("graph", "the graph's @name"), 1)
        self.expect("(", " and the inputs")
        inputs = self.listed(self.define, ")")
        self.expect("{")
        weights: dict[str, TensorType] = {}
        marks: dict[str, Value] = {}
        nodes: list[Node] = []
        while not self.accept("return"):
            if self.accept("weight"):
                key = self.fresh(weights, "weight")
                self.expect(":", " and the type")
                weights[key] = self.type()
            elif self.accept("mark"):
                key = self.fresh(marks, "mark")
                marks[key] = self.use()
            elif self.at_node():
                nodes.append(self.node())
            else:
                raise self.expected("a node, 'weight', 'mark' or 'return'")
        outputs = self.returned()
        self.expect("}")
        if self.tokens[self.index][0] != "end":
            raise self.expected("nothing after the graph")
        return Graph(
            name, inputs, tuple(nodes), outputs, tuple(weights.items()), tuple(marks.items())
        )

    def returned(self) -> tuple[tuple[str, Value], ...]:
        """What follows `return`: one bare value named "output", or named values."""
        if self.tokens[self.index][0] == "value":
            return (("output", self.use()),)
        outputs: dict[str, Value] = {}
        while not self.at("}"):
            if outputs:
                self.expect(",", " or '}'")
            key = self.fresh(outputs, "output")
            outputs[key] = self.use()
        return tuple(outputs.items())

    def fresh(self, known: Mapping[str, object], kind: str) -> str:
        """A quoted name that is not yet among the known ones."""
        token = self.tokens[self.index]
        name = self.string(f'the {kind}\'s "name"')
        if name in known:
            raise self.fail(f'{kind} "{name}" is given twice; expected a new name', token)
        return name

    # Nodes

    def at_node(self) -> bool:
        kind = self.tokens[self.index][0]
        return kind == "value" or (kind == "word" and self.tokens[self.index + 1][1] == "(")

    def node(self) -> Node:
        """One node; its outputs, where it has any, become known behind it."""
        outputs = self.defined() if self.tokens[self.index][0] == "value" else ()
        op = self.op()
        self.expect("(", " and the inputs")
        for value in outputs:  # not yet there for the node's own inputs
            del self._values[value.name]
        inputs = self.listed(self.use, ")")
        self._values.update((value.name, value) for value in outputs)
        attrs = self.keyed(self.attr, "}") if self.accept("{") else ()
        role = self.word("a role") if self.accept("role") and self.assigned() else ""
        rule = self.rule() if self.accept("rule") and self.assigned() else None
        loc = self.loc() if self.tokens[self.index][0] == "loc" else Loc()
        return Node(op, inputs, outputs, attrs, role, rule, loc)

    def defined(self) -> tuple[Value, ...]:
        outputs = [self.define()]
        while self.accept(","):
            outputs.append(self.define())
        self.expect("=", " and the op")
        return tuple(outputs)

    def assigned(self) -> bool:
        self.expect("=")
        return True

    def op(self) -> str:
        token = self.tokens[self.index]
        op = self.word("an op")
        if self._known_ops_only and op not in TABLE:
            close = difflib.get_close_matches(op, TABLE, 1)
            hint = f"perhaps {close[0]}" if close else "a row of the op table"
            raise self.fail(f"unknown op {op}; expected {hint}", token)
        self.places.append(token[2])
        return op

    def keyed(self, item: Callable[[], T], close: str) -> tuple[tuple[str, T], ...]:
        """`key=item` between commas up to `close`, each key once."""
        found: dict[str, T] = {}

        def pair() -> None:
            token = self.tokens[self.index]
            key = self.word("an attribute or parameter name")
            if key in found:
                raise self.fail(f"{key} is given twice; expected each name once", token)
            self.expect("=")
            found[key] = item()

        self.listed(pair, close)
        return tuple(found.items())

    def rule(self) -> Rule:
        name = self.word("a rule")
        return Rule(name, self.keyed(self.setting, ")") if self.accept("(") else ())

    def setting(self) -> Setting:
        """A rule's parameter: a number, numbers, a boolean, or text as a bare word or string."""
        kind, text, _ = self.tokens[self.index]
        if self.accept("["):
            return self.listed(self.number, "]")
        if kind == "number":
            self.index += 1
            return _number(text)
        if kind == "word" and text in BOOLS:
            self.index += 1
            return BOOLS[text]
        return self.word("a number, true, false, a word or [numbers]")

    def number(self) -> float:
        return _number(self.take("number", "a number")[1])

    def loc(self) -> Loc:
        token = self.take("loc", "loc(…)")
        match = LOC.fullmatch(token[1])
        if match is None:
            raise self.fail(f"found {token[1]:.60}; expected loc(module, file:line)", token)
        module, file, line = match.group("module", "file", "line")
        return Loc(self._place(module, token), self._place(file, token), int(line or 0))

    def _place(self, text: str | None, token: Token) -> str:
        return self.unquoted((token[0], text or "", token[2]))

    # Attributes, values and types

    def attr(self) -> Attr:
        kind, text, _ = self.tokens[self.index]
        if kind == "number" and self.tokens[self.index + 1][1] != "*":
            self.index += 1
            return _number(text)
        if kind == "string":
            return self.string("a string")
        if self.accept("["):
            return self.listed(self.attr, "]")
        if kind == "word" and text in BOOLS:
            self.index += 1
            return BOOLS[text]
        if kind == "number" or text in SYMBOLS:
            return self.dim()
        raise self.expected("a number, true, false, a string, B, K or a [list]")

    def define(self) -> Value:
        """`%name: type`, entered among the known values."""
        token = self.take("value", "a %value")
        name = self.unquoted(token, 1)
        if name in self._values:
            raise self.fail(f"%{name} is defined twice; expected a new name", token)
        self.expect(":", " and the type")
        value = self._values[name] = Value(name, self.type())
        return value

    def use(self) -> Value:
        token = self.take("value", "a %value")
        name = self.unquoted(token, 1)
        value = self._values.get(name)
        if value is None:
            close = difflib.get_close_matches(name, self._values, 1)
            hint = f", perhaps %{close[0]}" if close else ""
            raise self.fail(f"%{name} is not defined; expected a value defined above{hint}", token)
        return value

    def type(self) -> TensorType:
        token = self.take("word", "a type such as f32[B,256]")
        if token[1] not in DTYPES:
            raise self.fail(f"unknown dtype {token[1]}; expected one of {', '.join(DTYPES)}", token)
        self.expect("[", " and the shape")
        return TensorType(token[1], self.listed(self.dim, "]"))

    def dim(self) -> Dim:
        """A product of integers and symbols."""
        dim = self.factor()
        while self.accept("*"):
            dim = dim * self.factor()
        return dim

    def factor(self) -> Dim:
        kind, text, _ = token = self.tokens[self.index]
        if kind == "number" and text.lstrip("-").isdigit():
            self.index += 1
            return int(text)
        if kind == "word" and text not in SYMBOLS:
            raise self.fail(f"unknown symbol {text}; expected an integer, B or K", token)
        if kind != "word":
            raise self.expected("an integer, B or K")
        self.index += 1
        return SYMBOLS[text]


def _number(text: str) -> int | float:
    if text.lstrip("-").isdigit():
        return int(text)
    return math.nan if text.endswith("nan") else float(text)
