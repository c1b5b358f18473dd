"""The commands: `lrpc compile`, `run`, `compare`, `analyze`, `validate`, `evaluate`, `verify`,
`plan`, `bench`, `rules`; their arguments, and which module does them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from rich.console import Console

import lrpc
from lrpc.commands.analyze import arguments as analyze
from lrpc.commands.bench import arguments as bench
from lrpc.commands.compare import arguments as compare
from lrpc.commands.evaluate import arguments as evaluate
from lrpc.commands.plan import arguments as plan
from lrpc.commands.run import arguments as run
from lrpc.commands.session import arguments
from lrpc.support.terminal import say


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="lrpc", description="A compiler for layer-wise relevance propagation."
    )
    top.add_argument("--version", action="version", version=f"lrpc {lrpc.__version__}")
    top.add_argument("--debug", action="store_true", help="show the traceback of an error")
    add = top.add_subparsers(dest="command", required=True, metavar="COMMAND").add_parser
    _compile_arguments(add("compile", help="make a program from a config"))
    run.add_arguments(add("run", help="relevance for images, as pictures and data"))
    compare.add_arguments(add("compare", help="several composites or programs, side by side"))
    analyze.add_arguments(add("analyze", help="one layer to the layer before, over a folder"))
    analyze.add_validate_arguments(add("validate", help="check a table of `lrpc analyze`"))
    evaluate.add_arguments(add("evaluate", help="how faithful maps are, against annotated images"))
    verify = add("verify", help="check a program on this machine")
    verify.add_argument("program", type=Path, metavar="DIR")
    arguments.device(verify, "cpu")
    arguments.plugins(verify)
    verify.add_argument(
        "--every", action="store_true", help="hold every target against the interpreter"
    )
    plan.add_arguments(add("plan", help="the memory that a program takes"))
    bench.add_arguments(add("bench", help="the time that a program takes"))
    rules = add("rules", help="the rules and composites, with formulas and sources")
    rules.add_argument("name", nargs="?", help="one rule in detail")
    arguments.plugins(rules)
    return top


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; `KEY VALUE …` may stand at the end of every command that takes it, whatever
    is before it."""
    top = parser()
    args, rest = top.parse_known_args(argv)
    if rest and (any(word.startswith("-") for word in rest) or not hasattr(args, "overrides")):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # argparse gives up on what follows options where a positional came before them
        args.overrides += rest
    return args


def _compile_arguments(command: argparse.ArgumentParser) -> None:
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


#: Commands that are imported when they are called.
_MODULES = {
    **{name: name for name in ("run", "compare", "analyze", "evaluate", "plan", "bench")},
    "validate": "analyze",
}


def dispatch(args: argparse.Namespace, console: Console) -> int:
    """Do what was asked for; the exit code."""
    if args.command == "compile":
        return _compile(args, console)
    if args.command in _MODULES:
        module = import_module(f"lrpc.commands.{_MODULES[args.command]}.command")
        main = module.validate if args.command == "validate" else module.main
        code: int = main(args, console)
        return code
    if args.command == "verify":
        from lrpc.program.verify import report

        return report(args.program, console, args.device, args.every, args.plugin)
    from lrpc.commands.rules import show_all, show_one
    from lrpc.rules.plugins import load_plugins

    load_plugins(args.plugin)
    if args.name:
        show_one(args.name, console)
    else:
        show_all(console)
    return 0


def _compile(args: argparse.Namespace, console: Console) -> int:
    from lrpc.compiler import compile_config, compile_graph
    from lrpc.config import load_config
    from lrpc.errors import ConfigError
    from lrpc.rules.plugins import load_plugins

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
        report = compile_graph(args.graph, output, args.dump_passes, plugins=args.plugin)
    said = [f"warning: {text}" for text in report.warnings]
    for note in (*said, *(f"note: {text}" for text in report.notes)):
        say(console, note, "bold red" if "random" in note.lower() else "yellow")
    took = time.perf_counter() - began
    say(console, f"{report.directory}: {report.nodes} nodes, {took:.1f} s")
    lines = {"targets": report.targets, "places": report.places}
    if len(report.composites) > 1:
        lines["composites"] = report.composites
    for name, found in lines.items():
        say(console, f"  {name:<8} {', '.join(found)}")
    if report.precision is not None:
        from lrpc.program.precision_table import precision_table

        console.print(precision_table(report.precision))
    return 0
