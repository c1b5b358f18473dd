"""The commands: `lrpc compile`, `run`, `compare`, `analyze`, `validate`, `evaluate`, `verify`,
`plan`, `bench`, `rules`, `opt`; their arguments, and which module does them."""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path

from rich.console import Console

import lrpc
from lrpc.commands.analyze import command as analysis
from lrpc.commands.arguments import plugin_argument
from lrpc.commands.bench import arguments as bench
from lrpc.commands.compare import command as compare
from lrpc.commands.evaluate.arguments import add_arguments as evaluate_arguments
from lrpc.commands.opt import command as opt
from lrpc.commands.plan import arguments as plan
from lrpc.commands.run import command as run
from lrpc.support.ending import Arguments
from lrpc.support.terminal import say


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Arguments(prog="lrpc", description="A compiler for layer-wise relevance propagation.")
    top.add_argument("--version", action="version", version=f"lrpc {lrpc.__version__}")
    top.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _compile_arguments(commands.add_parser("compile", help="make a program from a config"))
    run.add_arguments(commands.add_parser("run", help="relevance for images, as pictures and data"))
    compare.add_arguments(
        commands.add_parser("compare", help="several composites or programs, side by side")
    )
    analysis.add_analyze_arguments(
        commands.add_parser("analyze", help="one layer to the layer before, over a folder")
    )
    analysis.add_validate_arguments(
        commands.add_parser("validate", help="check a table of `lrpc analyze`")
    )

    measured = "how faithful maps are, against annotated images"
    evaluate_arguments(commands.add_parser("evaluate", help=measured))
    verify = commands.add_parser("verify", help="check a program on this machine")
    verify.add_argument("program", type=Path, metavar="DIR")
    verify.add_argument("--device", default="cpu")
    plugin_argument(verify)
    verify.add_argument(
        "--every", action="store_true", help="hold every target against the interpreter"
    )
    plan.add_arguments(commands.add_parser("plan", help="the memory that a program takes"))
    bench.add_arguments(commands.add_parser("bench", help="the time that a program takes"))
    rules = commands.add_parser("rules", help="the rules and composites, with formulas and sources")
    rules.add_argument("name", nargs="?", help="one rule in detail")
    plugin_argument(rules)
    passes = commands.add_parser("opt", help="passes by name over the text of a graph")
    opt.add_arguments(passes)
    plugin_argument(passes)
    return top


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
    plugin_argument(command)
    command.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="as in detectron2")


def dispatch(args: argparse.Namespace, console: Console) -> int:
    """Do what was asked for; the exit code."""
    if args.command == "compile":
        return _compile(args, console)
    _imported()
    if args.command == "run":
        return run.main(args, console)
    if args.command == "compare":
        return compare.main(args, console)
    if args.command == "analyze":
        return analysis.analyze(args, console)
    if args.command == "validate":
        return analysis.validate(args, console)

    if args.command == "evaluate":
        from lrpc.commands.evaluate import command as evaluate

        return evaluate.main(args, console)
    if args.command == "plan":
        from lrpc.commands.plan import command as planning

        return planning.main(args, console)
    if args.command == "bench":
        from lrpc.commands.bench import command as own

        return own.main(args, console)
    if args.command == "verify":
        from lrpc.program.verify import report

        return report(args.program, console, args.device, args.every, args.plugin)
    if args.command == "opt":
        return opt.main(args)
    from lrpc.commands.rules import show_all, show_one
    from lrpc.rules.plugins import load_plugins

    load_plugins(args.plugin)
    if args.name:
        show_one(args.name, console)
    else:
        show_all(console)
    return 0


SELDOM = (10_000, 20, 50)
"""How often to look for garbage while a program is compiled: each time takes longer, since what is
made stays until the end."""


def _imported(*often: int) -> None:
    """Look for garbage again, so `often`, where a process did not while it imported; what it has
    stays."""
    if not gc.isenabled():
        gc.freeze()
        gc.set_threshold(*(often or gc.get_threshold()))
        gc.enable()


def _compile(args: argparse.Namespace, console: Console) -> int:
    from lrpc.compiler import compile_config, compile_graph
    from lrpc.config import load_config
    from lrpc.errors import ConfigError
    from lrpc.rules.plugins import load_plugins

    _imported(*SELDOM)
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
