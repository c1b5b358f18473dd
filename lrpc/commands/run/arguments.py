"""The arguments of `lrpc run`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrpc.commands.session import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc run` to its parser."""
    add = parser.add_argument
    add("program", type=Path, metavar="DIR", help="a compiled program")
    arguments.images_and_output(parser)
    arguments.targets(parser)
    arguments.running(parser)
    arguments.composite(parser)
    place = "store a place's relevance too (globs), repeatable"
    add("--read", action="append", default=[], metavar="LAYER", help=place)
    add("--norm", choices=("none", "sum1", "sumT"), help="scale of the start")
    add("--no-ledger", action="store_true", help="leave the ledger out: faster")
    told = "draw what the queries of targets look at in these modules, as '*decoder.layers.2.*'"
    add("--attention", metavar="MODULES", help=told)
    arguments.display(parser)
