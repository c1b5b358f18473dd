"""The arguments of `lrpc bench`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("program", type=Path, metavar="DIR")
    command.add_argument("--batch", type=_count, default=1, metavar="B", help="images, default 1")
    command.add_argument(
        "--seeds", type=_count, default=4, metavar="K", help="besides one seed, default 4"
    )
    command.add_argument(
        "--repeats", type=_count, default=5, metavar="N", help="rounds that are timed, default 5"
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
    command.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="PACKAGE.MODULE",
        help="a plugin that the manifest may import, repeatable",
    )
    command.add_argument(
        "--ways",
        default="",
        metavar="W,W",
        help="also as loaded with compile, capture (on a GPU) or compile+capture",
    )
    command.add_argument("--device", default="cpu")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, not {text!r}")
    return int(text)
