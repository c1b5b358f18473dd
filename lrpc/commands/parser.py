"""The command line: every command, where its arguments are declared and which function runs it."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

import lrpc
from lrpc.support.ending import Arguments


@dataclass(frozen=True)
class Command:
    """One command. Its modules are imported when it is used: most of them import torch.

    `module` defines `main(args, console) -> int`, and `arguments` `add_arguments(parser)`: by
    default the same, or in a package the module `arguments` beside `command`. `suffix` is of both
    names, where one module has several commands.
    """

    name: str
    help: str
    module: str
    arguments: str = ""
    suffix: str = ""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments of the command."""
        beside = self.module.replace(".command", ".arguments")
        self._function(self.arguments or beside, "add_arguments")(parser)

    def run(self, args: argparse.Namespace, console: Console) -> int:
        """Run the command; returns the exit code."""
        main = self._function(self.module, "main")
        if self.name != "compile":  # which makes millions of objects that stay until its end
            _imported()
        code: int = main(args, console)
        return code

    def _function(self, module: str, name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(
            import_module(f"lrpc.commands.{module}"), f"{name}{self.suffix}"
        )
        return function


COMMANDS = (
    Command("example", "write a small project: config, weights, two images", "example"),
    Command("compile", "compile a config into a program directory", "compile"),
    Command("config", "print a config with its defaults and overrides", "config"),
    Command("run", "explain images: relevance as pictures and data", "run.command"),
    Command("report", "pages to look through the results of a data set", "report.command"),
    Command("concepts", "which channels decisions go through", "concepts.command"),
    Command("demo", "explain images in the browser", "demo.command"),
    Command("compare", "explain by several composites or programs", "compare.command"),
    Command("analyze", "contributions from one layer to the next", "analyze.command"),
    Command("validate", "check a table of `lrpc analyze`", "analyze.command", suffix="_validate"),
    Command("evaluate", "measure the faithfulness of maps on scenes", "evaluate.command"),
    Command("tune", "choose rules by part on annotated images", "tune.command"),
    Command("verify", "check a program on this machine", "verify"),
    Command("show", "show, compare or draw the graph of a program", "show.command", "show.command"),
    Command("plan", "predict the memory of a program", "plan.command"),
    Command("bench", "measure time and memory of a program", "bench.command"),
    Command("export", "write a program for onnxruntime or C++", "export"),
    Command("opt", "run passes by name over the text of a graph", "opt.command", "opt.command"),
    Command("completion", "completion of these by bash, zsh or fish", "completion.command"),
    Command("rules", "list rules and composites, with formulas and sources", "rules"),
)


class CommandParser(Arguments):
    """The parser of one command, which declares its arguments when it is first used."""

    def __init__(self, *args: Any, command: Command | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._command = command

    def declare(self) -> None:
        """Declare the command's arguments, if that is still to be done."""
        if self._command is not None:
            command, self._command = self._command, None
            command.add_arguments(self)
            messages(self, argparse.SUPPRESS)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        self.declare()
        return super().parse_known_args(args, namespace)


def messages(parser: argparse.ArgumentParser, default: Any = None) -> None:
    """`--log` and `--verbose`, before a command and after it; what is not given is `default`."""
    add = parser.add_argument_group("messages").add_argument
    told = "add what is done and said to a file: a line each, with time and level"
    add("--log", type=Path, default=default, metavar="FILE", help=told)
    told = "tell steps and their seconds on the terminal"
    add("-v", "--verbose", action="store_true", default=default or False, help=told)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Arguments(prog="lrpc", description="A compiler for layer-wise relevance propagation.")
    top.add_argument("--version", action="version", version=f"lrpc {lrpc.__version__}")
    top.add_argument("--debug", action="store_true", help="show the traceback of an error")
    messages(top)
    commands = top.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=CommandParser
    )
    for command in COMMANDS:
        commands.add_parser(command.name, help=command.help, command=command)
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


def dispatch(args: argparse.Namespace, console: Console) -> int:
    """Run the command that was asked for; returns the exit code."""
    (command,) = (command for command in COMMANDS if command.name == args.command)
    return command.run(args, console)


def _imported() -> None:
    """Look for garbage again where a process did not while it imported; what it has stays."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
