"""`lrpc compile`: its arguments, and what it prints of the program."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

from lrpc.commands.session import arguments
from lrpc.compiler import compile_config, compile_graph
from lrpc.config import load_config
from lrpc.errors import ConfigError
from lrpc.program.manifest import Report
from lrpc.program.precision_table import precision_table
from lrpc.rules.plugins import load_plugins
from lrpc.support.terminal import say


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc compile` to its parser."""
    command.add_argument("--config", type=Path, metavar="FILE", help="detectron2-style YAML")
    command.add_argument(
        "--graph",
        type=Path,
        metavar="GRAPH.lrp",
        help="an annotated graph in a program directory, perhaps edited, instead of a config",
    )
    command.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: build/NAME")
    command.add_argument(
        "--dump-passes", action="store_true", help="write the graph after each pass"
    )
    command.add_argument(
        "--no-check", action="store_true", help="do not hold the program against the model"
    )
    arguments.plugins(command)
    arguments.overrides(command)


def main(args: argparse.Namespace, console: Console) -> int:
    """Compile a config or a graph; the exit code is 0, all errors are LrpcErrors."""
    if (args.config is None) == (args.graph is None):
        raise ConfigError("give --config FILE, or --graph GRAPH.lrp, and not both")
    source = args.config or args.graph
    output = args.output or Path("build") / (
        source.stem if args.config else f"{source.parent.name}-edited"
    )
    began = time.perf_counter()
    if args.config:
        load_plugins(args.plugin)
        config = load_config(args.config, args.overrides)
        report = compile_config(config, output, args.dump_passes, check=not args.no_check)
    else:
        if args.overrides:
            raise ConfigError("KEY VALUE overrides go with --config; edit the graph instead")
        if args.no_check:
            raise ConfigError(
                "--no-check goes with --config: beside a graph there is no model to hold it against"
            )
        report = compile_graph(args.graph, output, args.dump_passes, plugins=args.plugin)
    _print(report, time.perf_counter() - began, console)
    return 0


def _print(report: Report, seconds: float, console: Console) -> None:
    """Warnings, notes, size, targets and places of what was compiled."""
    said = [f"warning: {text}" for text in report.warnings]
    for note in (*said, *(f"note: {text}" for text in report.notes)):
        say(console, note, "bold red" if "random" in note.lower() else "yellow")
    say(console, f"{report.directory}: {report.nodes} nodes, {seconds:.1f} s")
    lines = {"targets": report.targets, "places": report.places}
    if len(report.composites) > 1:
        lines["composites"] = report.composites
    for name, found in lines.items():
        say(console, f"  {name:<8} {', '.join(found)}")
    if report.precision is not None:
        console.print(precision_table(report.precision))
