"""The arguments of `lrpc bench`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrpc.commands.arguments import count, plugin_argument


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("program", type=Path, metavar="DIR")
    command.add_argument("--batch", type=count, default=1, metavar="B", help="images, default 1")
    command.add_argument(
        "--seeds", type=count, default=4, metavar="K", help="besides one seed, default 4"
    )
    command.add_argument(
        "--repeats", type=count, default=5, metavar="N", help="rounds that are timed, default 5"
    )
    command.add_argument(
        "--target", action="append", metavar="T", help="only this one, repeatable; default: all"
    )
    command.add_argument("--composite", metavar="NAME", help="where the program has several")
    command.add_argument(
        "--weights", type=Path, metavar="FILE", help="the checkpoint that it was compiled from"
    )
    command.add_argument(
        "--source",
        default="",
        metavar="MODULE:FUNCTION",
        help="the function that builds the model, where its manifest names one: it is run",
    )
    plugin_argument(command)
    command.add_argument(
        "--ways",
        default="",
        metavar="W,W",
        help="also as loaded with compile, capture (on a GPU) or compile+capture",
    )
    command.add_argument("--device", default="cpu")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
