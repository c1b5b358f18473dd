"""The arguments of `lrpc plan`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrpc.commands.arguments import count, plugin_argument


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("program", type=Path, metavar="DIR")
    command.add_argument("--batch", type=count, default=1, metavar="B", help="images, default 1")
    command.add_argument("--seeds", type=count, default=1, metavar="K", help="seeds, default 1")
    command.add_argument("--target", metavar="T", help="show this one; default: what needs most")
    command.add_argument("--composite", metavar="NAME", help="where the program has several")
    command.add_argument(
        "--saved", action="store_true", help="list every saved value and the rules that read it"
    )
    plugin_argument(command)
    command.add_argument("--svg", type=Path, metavar="OUT", help="write a drawing")
    command.add_argument("--png", type=Path, metavar="OUT", help="write the same as a picture")
