"""The command line of `lrpc opt`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lrpc.commands.session import arguments
from lrpc.support.files import write_text

if TYPE_CHECKING:
    from lrpc.ir.graph import Graph


def add_arguments(command: argparse.ArgumentParser) -> None:
    """What `lrpc opt` takes."""
    add = command.add_argument
    add("graph", nargs="?", type=Path, metavar="FILE.lrp|-", help="the graph; - is standard input")
    for kind, example in (
        ("pass", "lower_relevance:target=y,reads=[x]"),
        ("pipeline", "annotating:composite=epsilon"),
    ):
        add(
            f"--{kind}",
            dest="steps",
            action="append",
            type=_step(kind),
            default=[],
            metavar="NAME[:OPTION=VALUE,…]",
            help=f"a {kind} with its options, repeatable, in order, as in {example}",
        )
    add("--weights", type=Path, metavar="FILE", help="weights; without, they are random numbers")
    add("-o", "--output", type=Path, metavar="FILE", help="instead of standard output")
    add("--list", action="store_true", help="list the passes and pipelines")
    arguments.plugins(command)


def _step(kind: str) -> Callable[[str], tuple[str, str]]:
    return lambda text: (kind, text)


def main(args: argparse.Namespace, console: Console) -> int:
    """Run what was asked for; 0."""
    from lrpc.commands.opt.options import OptError, passes_of
    from lrpc.commands.opt.running import run
    from lrpc.models.weights import load_weights
    from lrpc.rules.plugins import load_plugins

    if args.list:
        sys.stdout.write(listed())
        return 0
    if args.graph is None:
        raise OptError("name a graph in its text form, or - for standard input")
    load_plugins(args.plugin)
    steps = [one for kind, text in args.steps for one in passes_of(kind, text, args.plugin)]
    tensors = None if args.weights is None else load_weights(args.weights)
    text = run(_graph(args.graph), steps, tensors).text
    if args.output is None:
        sys.stdout.write(text)
    else:
        write_text(args.output, text)
    return 0


def _graph(path: Path) -> Graph:
    from lrpc.commands.opt.options import OptError
    from lrpc.ir import limits
    from lrpc.ir.parser import parse_graph, read_graph

    if str(path) != "-":
        return read_graph(path)
    text = sys.stdin.read(limits.FILE + 1)
    if len(text) > limits.FILE:
        raise OptError(f"standard input is longer than {limits.FILE} characters")
    return parse_graph(text, "<stdin>")


def listed() -> str:
    """Every pass and pipeline, a line each."""
    from lrpc.commands.opt.options import summary
    from passes import PASSES, PIPELINES

    width = max(map(len, (*PASSES, *PIPELINES)))
    lines = [f"{name:<{width}}  {summary(cls)}" for name, cls in PASSES.items()]
    for name, make in PIPELINES.items():
        does = " ".join((make.__doc__ or "").split())
        lines.append(f"{name:<{width}}  (pipeline) {does}")
    return "".join(f"{line}\n" for line in lines)
