"""A graph as Graphviz DOT text, with one cluster per module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lrpc.commands.show.palette import role_colour, tint
from lrpc.commands.show.select import Filter, Indexed, select
from lrpc.ir.graph import Graph
from lrpc.support.escaping import visible_lines

Modules = dict[str, "Modules"]


def dot(graph: Graph, condition: Filter) -> str:
    """The nodes that meet `condition`, and the edges between them."""
    nodes = select(graph, condition)
    lines = [
        f"digraph {_quoted(graph.name)} {{",
        "  rankdir=TB; compound=true;",
        '  node [shape=box, style="filled,rounded", fontname="Helvetica", fontsize=10];',
        '  edge [color="#6c7683"]; graph [fontname="Helvetica", fontsize=10, color="#c5cad1"];',
    ]
    made = {v.name: f"n{index}" for index, node in nodes for v in node.outputs}
    used = {v.name for _, node in nodes for v in node.inputs}
    for value in graph.inputs:
        if value.name in used:
            made[value.name] = f"in_{len(made)}"
            label = _quoted(f"%{value.name}\n{value.type}")
            lines.append(f"  {made[value.name]} [label={label}, shape=ellipse];")
    inside: dict[str, list[Indexed]] = {}
    tree: Modules = {}
    for index, node in nodes:
        inside.setdefault(node.loc.module, []).append((index, node))
        level = tree
        for part in node.loc.module.split(".") if node.loc.module else ():
            level = level.setdefault(part, {})
    lines += _module(tree, "", inside, "  ")
    for index, node in nodes:
        sources = dict.fromkeys(made[v.name] for v in node.inputs if v.name in made)
        lines += [f"  {source} -> n{index};" for source in sources]
    for place, (name, value) in enumerate(graph.outputs):
        if value.name in made:
            lines.append(f"  out_{place} [label={_quoted(name)}, shape=ellipse];")
            lines.append(f"  {made[value.name]} -> out_{place};")
    return "\n".join([*lines, "}"]) + "\n"


def _module(
    level: Modules, path: str, inside: Mapping[str, list[Indexed]], margin: str
) -> Iterator[str]:
    """The nodes of one module, then a cluster for each module in it."""
    for index, node in inside.get(path, ()):
        colour = role_colour(node.role)
        kind = str(node.out.type) if node.outputs else ""
        label = "\n".join(part for part in (node.op, node.role, kind) if part)
        yield (
            f"{margin}n{index} [label={_quoted(label)}, color={_quoted(colour)}, "
            f"fillcolor={_quoted(tint(colour, 0.2))}];"
        )
    for name, below in level.items():
        deeper = f"{path}.{name}" if path else name
        yield f"{margin}subgraph {_quoted('cluster_' + deeper)} {{"
        yield f"{margin}  label={_quoted(name)};"
        yield from _module(below, deeper, inside, margin + "  ")
        yield f"{margin}}}"


def _quoted(text: str) -> str:
    """A quoted DOT string: a newline begins a line, and no other escape means anything."""
    plain = visible_lines(text).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + plain.replace("\n", "\\n") + '"'
