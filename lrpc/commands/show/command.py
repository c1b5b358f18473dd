"""`lrpc show`: its arguments, and which view of a graph they ask for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lrpc.commands.session import arguments
from lrpc.commands.show.clusters import drawing
from lrpc.commands.show.diff import compare, lines, summary
from lrpc.commands.show.dot import dot
from lrpc.commands.show.load import ShowError, choose, dumps, load, read, saved_for
from lrpc.commands.show.page import page
from lrpc.commands.show.select import Filter, select
from lrpc.commands.show.svg import svg
from lrpc.commands.show.text import header, table, tree
from lrpc.errors import LrpcError
from lrpc.ir.graph import Graph
from lrpc.support.ending import of_output
from lrpc.support.files import write_text

TREE_DEPTH = 3
WIDE = 100_000  # columns, where nobody reads the output on a terminal: no line is cut


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc show` to its parser."""
    add = parser.add_argument
    add("target", nargs="?", type=Path, metavar="DIR|FILE.lrp", help="program directory, or graph")
    add(
        "--pass",
        dest="after",
        nargs="?",
        const="",
        metavar="NAME",
        help="the graph after this pass, by name or number; without NAME, list the passes",
    )
    add("--composite", metavar="NAME", help="the graph under this one, where there are several")
    add("--role", default="", help="only nodes with this role; none: those without")
    add("--op", default="", help="only nodes with this op")
    add("--module", default="", metavar="GLOB", help="only modules that match, and what is in them")
    add("--tree", action="store_true", help="the tree of modules (the default)")
    add(
        "--table", action="store_true", help="a table of nodes (the default where nodes are chosen)"
    )
    add(
        "--saved",
        action="store_true",
        help="in the table, for which rules the forward pass saves what a node leaves",
    )
    told = "levels of the tree, or modules of the drawing"
    add("--depth", type=arguments.positive, metavar="N", help=told)
    add(
        "--diff",
        nargs=2,
        metavar=("A", "B"),
        help="compare two .lrp files, or two passes of DIR; exits with 1 where they differ",
    )
    add("--svg", type=Path, metavar="OUT", help="write a drawing")
    add("--html", type=Path, metavar="OUT", help="write a drawing with a searchable table")
    add("--dot", type=Path, metavar="OUT", help="write Graphviz text; - for standard output")


def main(options: argparse.Namespace, console: Console) -> int:
    """Show what was asked for; the exit code is 1 where a diff found differences, else 0."""
    if not console.is_terminal:
        console.width = WIDE
    try:
        if options.diff:
            return _diff(options, console)
        if options.target is None:
            raise ShowError("name a program directory or an .lrp file")
        if options.after == "":
            return _list_passes(options.target, console)
        graph = load(options.target, options.after, options.composite)
        return _show(graph, options, console)
    except LrpcError as error:  # without the excerpt of the graph that some errors carry
        raise ShowError(error.line) from error


def _show(graph: Graph, options: argparse.Namespace, console: Console) -> int:
    condition = Filter(options.role, options.op, options.module)
    drawn = False
    for target, text in _drawings(graph, condition, options.depth).items():
        path: Path | None = getattr(options, target)
        if path is not None:
            _write(path, text())
            drawn = True
    if drawn and not (options.tree or options.table):
        return 0
    nodes = select(graph, condition)
    header(graph, console)
    if options.tree or not (options.table or options.saved or condition):
        console.print(tree(nodes, options.depth or TREE_DEPTH))
    if options.table or options.saved or (condition and not options.tree):
        saved = saved_for(options.target, options.composite) if options.saved else None
        console.print(table(nodes, saved))
    if condition:
        console.print(f"{len(nodes)} of {len(graph.nodes)} nodes", style="dim", highlight=False)
    return 0


def _drawings(graph: Graph, condition: Filter, depth: int | None) -> dict[str, Callable[[], str]]:
    return {
        "svg": lambda: svg(graph, drawing(graph, condition, depth)),
        "html": lambda: page(graph, drawing(graph, condition, depth)),
        "dot": lambda: dot(graph, condition),
    }


def _write(path: Path, text: str) -> None:
    """Write whole or not at all; `-` is standard output."""
    if str(path) == "-":
        with of_output():
            sys.stdout.write(text)
        return
    write_text(path, text)


def _list_passes(directory: Path, console: Console) -> int:
    if not directory.is_dir():
        raise ShowError(f"{directory}: --pass needs a program directory")
    known = dumps(directory)
    if not known:
        choose(directory, "")
    for dump in known:
        console.print(Text(str(dump)))
    return 0


def _diff(options: argparse.Namespace, console: Console) -> int:
    graphs, names = [], []
    for wanted in options.diff:
        path = Path(wanted)
        if options.target is not None and options.target.is_dir() and not path.is_file():
            dump = choose(options.target, wanted)
            path, wanted = dump.path, str(dump)
        graphs.append(read(path) if path.is_file() else load(path))
        names.append(wanted)
    found = compare(*graphs)
    if found:
        for line in lines(found, names):
            console.print(line, soft_wrap=True, highlight=False)
    console.print(summary(found), style="bold", highlight=False)
    return int(bool(found))
