"""The text form of a graph: one node a line, readable, and parsed back to an equal graph."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lrpc.errors import IRError
from lrpc.ir.graph import Attr, Graph, Loc, Node, Rule, Value
from lrpc.ir.lexer import NUMBER, WORD
from lrpc.ir.sizes import Size
from lrpc.ir.strings import in_quotes
from lrpc.ir.types import Sym

RESERVED = re.compile(rf"true|false|loc|{NUMBER}")
BARE_LOC = r'[^\s,():"#]++'


def print_graph(graph: Graph) -> str:
    """The text of `graph`, ending in a newline; `parse_graph` of it gives an equal graph."""
    sizes = print_sizes(graph.sizes)
    lines = [f"graph @{_name(graph.name)}{sizes}({print_typed(graph.inputs)}) {{"]
    lines += [f"  weight {in_quotes(name)}: {kind}" for name, kind in graph.weights]
    lines += [f"  {print_node(node)}" for node in graph.nodes]
    lines += [f"  place {in_quotes(name)} {print_value(value)}" for name, value in graph.places]
    lines += [f"  return {_returned(graph)}".rstrip(), "}"]
    return "\n".join(lines) + "\n"


def print_node(node: Node) -> str:
    """One node as one line, without indentation."""
    inputs = ", ".join(map(print_value, node.inputs))
    outputs = f"{print_typed(node.outputs)} = " if node.outputs else ""
    parts = [f"{outputs}{_word(node.op)}({inputs})"]
    if node.attrs:
        attrs = (f"{_word(key)}={print_attr(value)}" for key, value in node.attrs)
        parts.append(f"{{{', '.join(attrs)}}}")
    if node.role:
        parts.append(f"role={_word(node.role)}")
    if node.rule is not None:
        parts.append(f"rule={print_rule(node.rule)}")
    if node.loc != Loc():
        parts.append(print_loc(node.loc))
    return " ".join(parts)


def print_value(value: Value) -> str:
    """`%name`, the name quoted where it is not one word."""
    return print_name(value.name)


def print_name(name: str) -> str:
    """The name of a value, as `print_value` writes it."""
    return f"%{_name(name)}"


def print_attr(value: Attr) -> str:
    """An attribute's value; tuples in brackets, strings quoted."""
    if isinstance(value, str):
        return in_quotes(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{','.join(map(print_attr, value))}]"
    if isinstance(value, (int, float, Sym)):
        return str(value) if isinstance(value, Sym) else repr(value)
    raise IRError(f"an attribute of type {type(value).__name__} has no text form: {value!r:.80}")


def print_rule(rule: Rule) -> str:
    """`name(key=value, …)`, or the name alone where the rule has no parameters."""
    params = ", ".join(
        f"{_word(key)}={_word(value) if isinstance(value, str) else print_attr(value)}"
        for key, value in rule.params
    )
    return f"{_word(rule.name)}({params})" if params else _word(rule.name)


def print_loc(loc: Loc) -> str:
    """`loc(module, file:line)`, either part left out where it is empty."""
    place = f"{_place(loc.file)}:{loc.line}" if loc.file or loc.line else ""
    return f"loc({', '.join(part for part in (_place(loc.module), place) if part)})"


def print_sizes(sizes: Iterable[Size]) -> str:
    """The sizes that extents depend on, for the example, over their steps and periods."""
    said = ", ".join(
        f"{s.name}={s.example}/{s.step}" + (f"/{s.period}" if s.period > 1 else "") for s in sizes
    )
    return f" [{said}]" if said else ""


def print_typed(values: Iterable[Value]) -> str:
    """Values with their types: `%x: f32[B,3], …`."""
    return ", ".join(f"{print_value(value)}: {value.type}" for value in values)


def _returned(graph: Graph) -> str:
    if len(graph.outputs) == 1 and graph.outputs[0][0] == "output":
        return print_value(graph.outputs[0][1])
    return ", ".join(f"{in_quotes(name)} {print_value(value)}" for name, value in graph.outputs)


def _name(name: str) -> str:
    return name if re.fullmatch(r"\w+", name) else in_quotes(name)


def _word(text: str) -> str:
    bare = re.fullmatch(WORD, text) and not RESERVED.fullmatch(text)
    return text if bare else in_quotes(text)


def _place(text: str) -> str:
    bare = not text or (text.isprintable() and re.fullmatch(BARE_LOC, text))
    return text if bare else in_quotes(text)
