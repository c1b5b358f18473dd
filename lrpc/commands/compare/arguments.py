"""The arguments of `lrpc compare`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrpc.commands.session import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc compare` to its parser."""
    told = "compiled programs, one or several"
    parser.add_argument("programs", type=Path, nargs="+", metavar="DIR", help=told)
    arguments.images_and_output(parser)
    arguments.composite(parser, several=True)
    arguments.targets(parser)
    arguments.running(parser)
    arguments.display(parser)
