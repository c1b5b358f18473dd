"""A graph as text in the terminal: header, tree by module, table of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from lrpc.commands.show.palette import role_colour, rule_colours
from lrpc.commands.show.select import Indexed, counted, is_relevance
from lrpc.ir.graph import Graph, Node
from lrpc.ir.printer import print_rule, print_value

HEADINGS = ("value", "type", "op", "inputs", "role", "rule", "module", "source")
FACETS = 4  # how many roles a line of the tree names


def header(graph: Graph, console: Console) -> None:
    """Name, inputs, outputs, and how many nodes have each role and rule."""
    relevance = sum(map(is_relevance, graph.nodes))
    halves = (
        f" ({len(graph.nodes) - relevance} forward, {relevance} relevance)" if relevance else ""
    )
    console.print(
        f"[bold]@{escape(graph.name)}[/]  {len(graph.nodes)} nodes{halves}, "
        f"{len(graph.weights)} weights, {len(graph.places)} places",
        highlight=False,
    )
    for value in graph.inputs:
        console.print(_entry("input", Text(f"{print_value(value)}: {value.type}")))
    for name, value in graph.outputs:
        console.print(_entry("output", Text(f'"{name}" {print_value(value)}: {value.type}')))
    roles = counted(n.role for n in graph.nodes)
    rules = counted(n.rule.name if n.rule else "" for n in graph.nodes)
    colours = rule_colours(name for name, _ in rules)
    console.print(_entry("roles", _facets([(name, n, role_colour(name)) for name, n in roles])))
    facets = _facets([(name, n, colours[name]) for name, n in rules])
    console.print(_entry("rules", facets), end="\n\n")


def _entry(label: str, content: Text) -> Text:
    return Text(f"{label:8}", style="dim").append_text(content)


def _facets(parts: Sequence[tuple[str, int, str]]) -> Text:
    text = Text()
    for name, count, colour in parts:
        text.append("  " if text else "")
        text.append(name, style="dim" if name == "none" else colour)
        text.append(f" {count}")
    return text


def tree(nodes: Iterable[Indexed], depth: int) -> Tree:
    """Modules down to `depth` levels, each with what is in it; deeper ones are counted in there."""
    root = Tree(Text("modules", style="bold"), guide_style="dim")
    branches: dict[tuple[str, ...], Tree] = {(): root}
    held: dict[tuple[str, ...], list[Node]] = {}
    for _, node in nodes:
        path = tuple(node.loc.module.split(".")) if node.loc.module else ("(no module)",)
        for level in range(1, min(len(path), depth) + 1):
            held.setdefault(path[:level], []).append(node)
    for path, inside in held.items():
        branches[path] = branches[path[:-1]].add(_branch(path, inside, depth))
    return root


def _branch(path: tuple[str, ...], inside: Sequence[Node], depth: int) -> Text:
    text = Text(path[-1], style="bold" if len(path) == 1 else "")
    text.append(f"  {len(inside)}", style="dim")
    roles = counted(node.role for node in inside)
    parts = [(name, count, role_colour(name)) for name, count in roles[:FACETS]]
    text.append("  ").append_text(_facets(parts))
    if len(roles) > FACETS:
        text.append(f"  and {sum(count for _, count in roles[FACETS:])} others", style="dim")
    below = {n.loc.module for n in inside if n.loc.module.count(".") >= len(path)}
    if len(path) == depth and below:
        text.append(f"  +{len(below)} below", style="dim italic")
    return text


def table(nodes: Sequence[Indexed], saved: Mapping[str, Sequence[str]] | None = None) -> Table:
    """One row a node: its index and HEADINGS; with `saved`, which rules read its results later."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    shown.add_column("#", justify="right", style="dim", no_wrap=True)
    for name in HEADINGS:
        shown.add_column(name, overflow="fold")
    if saved is not None:
        shown.add_column("saved for", overflow="fold")
    colours = rule_colours(node.rule.name for _, node in nodes if node.rule)
    for index, node in nodes:
        styles = dict.fromkeys(HEADINGS, "") | {
            "op": "bold",
            "role": role_colour(node.role),
            "rule": colours[node.rule.name] if node.rule else "",
            "source": "dim",
        }
        texts = zip(cells(node), styles.values(), strict=True)
        row = [Text(text, style=style) for text, style in texts]
        if saved is not None:
            row.append(Text("\n".join(_later(node, saved))))
        shown.add_row(str(index), *row)
    return shown


def _later(node: Node, saved: Mapping[str, Sequence[str]]) -> list[str]:
    """Who reads what a node leaves, after the forward pass."""
    return [reader for v in node.outputs for reader in saved.get(v.name, ())]


def cells(node: Node) -> tuple[str, ...]:
    """The texts of a node under HEADINGS."""
    return (
        "\n".join(map(print_value, node.outputs)),
        "\n".join(str(v.type) for v in node.outputs),
        node.op,
        " ".join(map(print_value, node.inputs)),
        node.role,
        print_rule(node.rule) if node.rule else "",
        node.loc.module,
        f"{node.loc.file}:{node.loc.line}" if node.loc.file else "",
    )
