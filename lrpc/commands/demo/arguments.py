"""The arguments of `lrpc demo`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrpc.commands.session import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc demo` to its parser."""
    add = parser.add_argument
    add("program", type=Path, metavar="DIR", help="a compiled program")
    told = "address that it is served at; others than 127.0.0.1 let other machines in"
    add("--host", default="127.0.0.1", metavar="ADDRESS", help=f"{told} (127.0.0.1)")
    port = arguments.between(int, 0, 65535)
    add("--port", type=port, default=7860, metavar="N", help="0: any that is free (7860)")
    add("--browser", action="store_true", help="open the page in a browser")
    arguments.score(parser, 0.5)
    add("--top", type=arguments.positive, default=20, help="detections per image (20)")
    arguments.composite(parser, several=True)
    add("--pad", action="store_true", help="pad images that do not fill a program of one size")
    arguments.device(parser)
