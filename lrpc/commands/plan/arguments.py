"""The arguments of `lrpc plan`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrpc.commands.session import arguments


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("program", type=Path, metavar="DIR")
    arguments.sizes(command, 1, "seeds")
    command.add_argument(
        "--size",
        nargs="+",
        default=[],
        metavar="NAME=N",
        help="sizes that vary, such as H=480 W=640; default: those that it was traced at",
    )
    command.add_argument("--target", metavar="T", help="show this one; default: what needs most")
    arguments.composite(command)
    command.add_argument(
        "--saved", action="store_true", help="list every saved value and the rules that read it"
    )
    arguments.plugins(command)
    command.add_argument("--svg", type=Path, metavar="OUT", help="write a drawing")
    command.add_argument("--png", type=Path, metavar="OUT", help="write the same as a picture")
