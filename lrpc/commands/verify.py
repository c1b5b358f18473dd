"""`lrpc verify`: its arguments; the checks are in `lrpc.program.verify`."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from lrpc.commands.session import arguments
from lrpc.program.verify import report


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc verify` to its parser."""
    command.add_argument("program", type=Path, metavar="DIR")
    arguments.device(command, "cpu")
    arguments.plugins(command)
    command.add_argument(
        "--every", action="store_true", help="compare every target with the interpreter"
    )


def main(args: argparse.Namespace, console: Console) -> int:
    """Check a program; the exit code is 0 where every check passed, else 1."""
    return report(args.program, console, args.device, args.every, args.plugin)
