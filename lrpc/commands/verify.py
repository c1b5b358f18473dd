"""`lrpc verify`: its arguments and its table; the checks are in `lrpc.program.verify`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lrpc.commands.session import arguments
from lrpc.commands.session.given_sizes import given_size
from lrpc.config import load_config
from lrpc.errors import ConfigError
from lrpc.ir.sizes import Size
from lrpc.program.manifest_reader import manifest_of
from lrpc.program.verify import checks
from lrpc.program.verify_model import ConfiguredModel
from lrpc.program.verify_sizes import Check, Point
from lrpc.support.log import LOG, step
from lrpc.support.terminal import say


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc verify` to its parser."""
    command.add_argument("program", type=Path, metavar="DIR")
    arguments.device(command, "cpu")
    arguments.plugins(command)
    command.add_argument(
        "--every", action="store_true", help="compare every target with the interpreter"
    )
    command.add_argument(
        "--size",
        nargs="+",
        action="append",
        default=[],
        metavar="NAME=N",
        help="sizes that vary, such as H=480 W=640, repeatable; default: the example's, a larger"
        " one, that turned, and the smallest",
    )
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="hold outputs against this config's model, too"
    )
    arguments.overrides(command)


def main(args: argparse.Namespace, console: Console) -> int:
    """Check a program and print the table; the exit code is 0 where every check passed, else 1."""
    directory: Path = args.program
    if args.overrides and args.config is None:
        raise ConfigError("KEY VALUE goes with --config FILE")
    model = None
    if args.config is not None:
        model = ConfiguredModel(load_config(args.config, args.overrides), manifest_of(directory))
    found = checks(directory, args.device, args.every, args.plugin, _sizes(args), model)
    results = _show(found, f"verify {directory}", console)
    failed = sum(not check.passed for check in results)
    say(console, f"{len(results) - failed} of {len(results)} checks passed")
    return 1 if failed else 0


def _sizes(args: argparse.Namespace) -> list[Point]:
    """The sizes that were asked for."""
    if not args.size:
        return []
    stated: dict[str, dict[str, int]] = manifest_of(args.program).get("sizes", {})
    known = [Size(name, one["step"], one["example"]) for name, one in stated.items()]
    return [given_size(given, known) for given in args.size]


def _show(found: Iterable[Check], title: str, console: Console) -> list[Check]:
    """Print the checks as a table, a section for each size; they themselves."""
    results: list[Check] = []
    with step("verify"):
        for check in found:
            LOG.info("%s: %.2e of %.0e", check.what, check.figure, check.limit)
            results.append(check)
    table = Table(title=escape(title))
    for column in ("check", "figure", "limit", "", "remark"):
        table.add_column(column, justify="right" if column in ("figure", "limit") else "left")
    at = ""
    for check in results:
        if check.at != at:
            at = check.at
            table.add_section()
            table.add_row(Text(f"at {at}", "bold"))
        verdict = "[green]ok[/]" if check.passed else "[bold red]FAILED[/]"
        verdict = "[yellow]look[/]" if check.over and check.warns else verdict
        figures = (f"{check.figure:.2e}", f"{check.limit:.0e}", verdict)
        table.add_row(Text(check.what), *figures, Text(check.remark))
    console.print(table)
    return results
