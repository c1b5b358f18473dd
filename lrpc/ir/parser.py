"""Parses the text form of a graph.

graph   = "graph" @name "(" [typed, …] ")" "{" (weight | node | place)* return "}"
weight  = "weight" string ":" type
node    = [typed, … "="] op "(" [%value, …] ")" ["{" key "=" attr, … "}"] ["role=" word]
          ["rule=" word ["(" key "=" setting, … ")"]] ["loc(" [module] [, file ":" line] ")"]
place   = ("place" | "mark") string %value;  "mark" in texts of earlier releases
return  = "return" [%value | string %value, …]
typed   = %value ":" type;  type = dtype "[" dim, … "]";  dim = factors of integers, B, K
setting = number | "[" number, … "]" | "true" | "false" | word
attr    = number | "true" | "false" | string | dim | "[" attr, … "]"

Time and memory are linear in the text; lrpc/ir/limits.py has the limits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from lrpc.errors import IRError
from lrpc.ir import limits
from lrpc.ir.graph import Graph, Loc, Node, Rule, Value
from lrpc.ir.lexer import STRING, Source, Token
from lrpc.ir.literals import Literals
from lrpc.ir.ops import TABLE
from lrpc.ir.printer import BARE_LOC
from lrpc.ir.types import Sym, TensorType
from lrpc.ir.verifier import NodeError
from lrpc.ir.verifier import verify as verify_graph
from lrpc.support.untrusted import Unreadable, near, read_text, short

T = TypeVar("T")
_PART = rf"(?:{STRING}|{BARE_LOC})"
LOC = re.compile(
    rf"loc\(\s*+(?:(?P<module>{_PART})\s*+(?=[,)]))?+,?+\s*+"
    rf"(?:(?P<file>{_PART})?+:(?P<line>[0-9]{{1,{limits.NUMBER}}}+)\s*+)?+\)"
)


def parse_graph(text: str, file: str = "<text>", verify: bool = True) -> Graph:
    """The graph that `text` stands for; with `verify`, checked against the op table as well.

    Raises IRError whose first line is `file:line:column: what; expected …`.
    """
    source = Source(text, file)
    parser = _Parser(source, known_ops_only=verify)
    graph = parser.graph()
    if verify:
        _verify(graph, source, parser.offsets)
    return graph


def read_graph(path: Path, verify: bool = True) -> Graph:
    """The graph in a file. Raises IRError, also where the file cannot be read."""
    try:
        text = read_text(path, limits.FILE)
    except Unreadable as error:
        raise IRError(f"{path}: {error}; expected a graph in its text form") from None
    return parse_graph(text, str(path), verify)


def _verify(graph: Graph, source: Source, offsets: list[int]) -> None:
    """Verify; the error points at the node that is to blame."""
    try:
        verify_graph(graph)
    except NodeError as error:
        raise source.error(offsets[error.index], str(error)) from None


class _Parser(Literals):
    """Recursive descent; `offsets` has the offset of each node's op."""

    def __init__(self, source: Source, known_ops_only: bool) -> None:
        super().__init__(source)
        self.offsets: list[int] = []
        self._known_ops_only = known_ops_only
        self._values: dict[str, Value] = {}

    def graph(self) -> Graph:
        self.expect("graph")
        name = self.unquoted(self.take("graph", "the graph's @name"), 1)
        if self.accept("["):
            self.sizes()
        self.expect("(", " and the inputs")
        inputs = self.listed(self.define, ")")
        self.expect("{")
        weights: dict[str, TensorType] = {}
        places: dict[str, Value] = {}
        nodes: list[Node] = []
        while not self.accept("return"):
            if self.accept("weight"):
                key = self.fresh(weights, "weight")
                self.expect(":", " and the type")
                token = self.token
                weights[key] = self.type()
                symbolic = any(isinstance(dim, Sym) for dim in weights[key].shape)
                if symbolic and self._known_ops_only:
                    what = f"a weight of type {weights[key]}; expected extents in numbers"
                    raise self.fail(what, token)
            elif self.accept("place") or self.accept("mark"):
                key = self.fresh(places, "place")
                places[key] = self.use()
            elif self.at_node():
                nodes.append(self.node())
            else:
                raise self.expected("a node, 'weight', 'place' or 'return'")
        outputs = self.returned()
        self.expect("}")
        if self.token[0] != "end":
            raise self.expected("nothing after the graph")
        return Graph(
            name, inputs, tuple(nodes), outputs, tuple(weights.items()), tuple(places.items())
        )

    def returned(self) -> tuple[tuple[str, Value], ...]:
        """What follows `return`: one bare value named "output", or named values."""
        if self.token[0] == "value":
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
        token = self.token
        name = self.string(f'the {kind}\'s "name"')
        if name in known:
            raise self.fail(f'{kind} "{short(name)}" is given twice; expected a new name', token)
        return name

    # Nodes

    def at_node(self) -> bool:
        kind = self.token[0]
        return kind == "value" or (kind == "word" and self.following[1] == "(")

    def node(self) -> Node:
        """One node; its outputs, where it has any, become known behind it."""
        outputs = self.defined() if self.token[0] == "value" else ()
        op = self.op()
        self.expect("(", " and the inputs")
        for value in outputs:  # not yet there for the node's own inputs
            del self._values[value.name]
        inputs = self.listed(self.use, ")")
        self._values.update((value.name, value) for value in outputs)
        attrs = self.keyed(self.attr, "}") if self.accept("{") else ()
        role = self.word("a role") if self.accept("role") and self.assigned() else ""
        rule = self.rule() if self.accept("rule") and self.assigned() else None
        loc = self.loc() if self.token[0] == "loc" else Loc()
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
        token = self.token
        op = self.word("an op")
        if self._known_ops_only and op not in TABLE:
            close = near(op, TABLE)
            hint = f"perhaps {close}" if close else "a row of the op table"
            raise self.fail(f"unknown op {short(op)}; expected {hint}", token)
        self.offsets.append(token[2])
        return op

    def keyed(self, item: Callable[[], T], close: str) -> tuple[tuple[str, T], ...]:
        """`key=item` between commas up to `close`, each key once."""
        found: dict[str, T] = {}

        def pair() -> None:
            token = self.token
            key = self.word("an attribute or parameter name")
            if key in found:
                raise self.fail(f"{short(key)} is given twice; expected each name once", token)
            self.expect("=")
            found[key] = item()

        self.listed(pair, close)
        return tuple(found.items())

    def rule(self) -> Rule:
        name = self.word("a rule")
        return Rule(name, self.keyed(self.setting, ")") if self.accept("(") else ())

    def loc(self) -> Loc:
        token = self.take("loc", "loc(…)")
        match = LOC.fullmatch(token[1])
        if match is None:
            raise self.fail(f"found {token[1]:.60}; expected loc(module, file:line)", token)
        module, file, line = match.group("module", "file", "line")
        return Loc(self._place(module, token), self._place(file, token), int(line or 0))

    def _place(self, text: str | None, token: Token) -> str:
        return self.unquoted((token[0], text or "", token[2]))

    # Values

    def define(self) -> Value:
        """`%name: type`, entered among the known values."""
        token = self.take("value", "a %value")
        name = self.unquoted(token, 1)
        if name in self._values:
            raise self.fail(f"%{short(name)} is defined twice; expected a new name", token)
        self.expect(":", " and the type")
        value = self._values[name] = Value(name, self.type())
        return value

    def use(self) -> Value:
        token = self.take("value", "a %value")
        name = self.unquoted(token, 1)
        value = self._values.get(name)
        if value is None:
            close = near(name, reversed(self._values))
            hint = f", perhaps %{close}" if close else ""
            what = f"%{short(name)} is not defined; expected a value defined above{hint}"
            raise self.fail(what, token)
        return value
