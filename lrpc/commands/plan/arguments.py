"""The arguments of `lrpc plan`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("program", type=Path, metavar="DIR")
    command.add_argument("--batch", type=_count, default=1, metavar="B", help="images, default 1")
    command.add_argument("--seeds", type=_count, default=1, metavar="K", help="seeds, default 1")
    command.add_argument("--target", metavar="T", help="show this one; default: what needs most")
    command.add_argument("--composite", metavar="NAME", help="where the program has several")
    command.add_argument(
        "--saved", action="store_true", help="list every saved value and the rules that read it"
    )
    command.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="PACKAGE.MODULE",
        help="a plugin that the manifest may import, repeatable",
    )
    command.add_argument("--svg", type=Path, metavar="OUT", help="write a drawing")
    command.add_argument("--png", type=Path, metavar="OUT", help="write the same as a picture")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, not {text!r}")
    return int(text)
