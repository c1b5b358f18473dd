"""The arguments of `lrpc report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrpc.commands.session.arguments import positive
from lrpc.results.crops import CROPS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc report` to its parser."""
    add = parser.add_argument
    add("results", type=Path, metavar="OUT", help="what `lrpc run --data` has written")
    told = "folder of the pages (OUT/report); an earlier report there is replaced"
    add("-o", "--output", type=Path, metavar="SITE", help=told)
    add("--title", help="of the pages (the program's name)")
    add("--size", type=positive, default=720, metavar="PIXELS", help="longest edge of images (720)")
    told = "compare the targets of a class around their objects, or in whole images alone (both)"
    add("--crop", choices=CROPS, help=told)
    add("--processes", type=positive, metavar="N", help="that draw (one per core)")
