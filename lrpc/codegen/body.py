"""Writes the statements of one straight-line function body: assignments, comments, `del` at
last use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from lrpc.codegen.expression import render
from lrpc.codegen.quoting import comment, identifier, literal, quoted
from lrpc.codegen.sources import FUNCTIONS
from lrpc.ir.graph import Node, Value

RESERVED = frozenset(
    {
        *("w", "p", "s", "B", "K", "F", "torch", "device"),
        *("saved", "read", "out", "ledger", "chunk"),
        *("len", "dict", "float"),
        *FUNCTIONS,
    }
)
Weight = Callable[[str], str]


@dataclass
class Names:
    """Local names for values: the value's stem, made unique within one function."""

    known: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def local(self, value: Value) -> str:
        """The local name of `value`, given on first use."""
        if value.name not in self.known:
            self.known[value.name] = self.fresh(stem(value.name))
        return self.known[value.name]

    def argument(self, value: Value, base: str) -> str:
        """The local name of a function's argument: the same in every function of its kind."""
        self.known[value.name] = self.fresh(base)
        return self.known[value.name]

    def bind(self, value: Value, text: str) -> None:
        """Let `value` be written as `text`."""
        self.known[value.name] = text

    def fresh(self, base: str) -> str:
        """A name made from `base` that nothing has yet."""
        base = safe(base)
        name, count = base, 1
        while name in self.taken:
            count += 1
            name = f"{base}_{count}"
        self.taken.add(name)
        return name


@lru_cache(maxsize=65536)
def safe(name: str) -> str:
    """`name` as a Python name, with an underscore where Python or the program means something by
    it."""
    name = identifier(name)  # an input in a dict is called by its path, with dots
    return f"{name}_" if name in RESERVED else name


@lru_cache(maxsize=65536)
def stem(name: str) -> str:
    """A value name without the numbers that made it unique in its graph."""
    return re.sub(r"_\d+(?=_|$)", "", name) or "v"


@dataclass
class Body:
    """Collects indented lines. `weight` renders weight names; `prefix` shortens module paths;
    `kept` says where in the state an operation keeps a part of its work."""

    names: Names
    weight: Weight
    prefix: str = ""
    ledger: bool = False
    kept: Callable[[Node], str] = lambda node: ""
    lines: list[str] = field(default_factory=list)
    _said: str = ""

    def node(self, node: Node, saves: Mapping[str, str], over: int | None = None) -> None:
        """One node: a comment where module or rule change, its statement, which may write over an
        operand, and what it saves."""
        if node.op == "record":
            if self.ledger:
                self._record(node)
            return
        self._comment(node)
        inputs = [self.names.local(v) for v in node.inputs]
        if node.op == "read":
            self._read(node, inputs)
            return
        outputs = ", ".join(self.names.local(v) for v in node.outputs)
        shapes = ", ".join(str(v.type) for v in node.outputs)
        text = render(node, inputs, self.weight, self.kept(node), over)
        self.lines.append(f"{outputs} = {text}  # {shapes}")
        for value in node.outputs:
            if value.name in saves:
                self.lines.append(f"{saves[value.name]} = {self.names.local(value)}")

    def delete(self, values: Iterable[Value], others: Iterable[str] = ()) -> None:
        """`del` for values and other locals that are not used any more."""
        local = [self.names.known[v.name] for v in values if v.name in self.names.known]
        plain = [*(name for name in local if name.isidentifier()), *others]
        if plain:
            self.lines.append(f"del {', '.join(plain)}")

    def _record(self, node: Node) -> None:
        inputs = [self.names.local(v) for v in node.inputs]
        self.lines.append(f"ledger.append({booked_amount(node, inputs)})")

    def _read(self, node: Node, inputs: Sequence[str]) -> None:
        name = quoted(str(node.attr("name")))
        self.lines.append(f"if {name} in read:")
        self.lines.append(f"    out[{name}] = {handed_out(inputs)}  # {node.inputs[0].type}")
        if not self.ledger:
            self.lines.append("    if len(out) == len(read):")
            self.lines.append("        return out")

    def _comment(self, node: Node) -> None:
        path = node.loc.module
        path = path[len(self.prefix) :] if path.startswith(self.prefix) else path
        path = "" if path + "." == self.prefix else path
        role = "" if node.role == "relevance" else node.role
        words = [w for w in (role, str(node.rule) if node.rule else "") if w]
        text = ": ".join(part for part in (path, ", ".join(words)) if part)
        if text and text != self._said:
            self.lines.append(f"# {comment(text)}")
        self._said = text


def handed_out(inputs: Sequence[str]) -> str:
    """The expression that a `read` of these inputs hands out."""
    text = f"{inputs[0]} * {inputs[1]}" if len(inputs) > 1 else inputs[0]
    return text + (f" + {inputs[2]}" if len(inputs) > 2 else "")


def booked_amount(node: Node, inputs: Sequence[str]) -> str:
    """The expression of the amount that a `record` books."""
    sign = "-" if node.attr("negative") else ""
    fold = f", {literal(node.attr('fold'))}" if node.attr("fold") is not None else ""
    return f"{sign}inner({inputs[0]}, {inputs[1]}, {literal(node.attr('batch'))}{fold})"


def last_uses(nodes: Sequence[Node], keep: Iterable[str]) -> list[list[Value]]:
    """For each node, the values whose last use it is (its own unused outputs included)."""
    kept = set(keep)
    dying: list[list[Value]] = [[] for _ in nodes]
    seen: set[str] = set()
    for index in range(len(nodes) - 1, -1, -1):
        node = nodes[index]
        for value in (*node.inputs, *node.outputs):
            if value.name not in seen and value.name not in kept:
                dying[index].append(value)
            seen.add(value.name)
    return dying


def weight_in(prefix: str) -> Weight:
    """Renders weight names inside a block function: relative to its prefix where they share it."""

    def text(name: str) -> str:
        if prefix and name.startswith(prefix):
            return f"w[p + {quoted(name[len(prefix) :])}]"
        return f"w[{quoted(name)}]"

    return text
