"""The arguments of `lrpc bench`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrpc.commands.session import arguments


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("program", type=Path, metavar="DIR")
    arguments.sizes(command, 4, "besides one seed")
    told = "rounds that are timed (5)"
    command.add_argument("--repeats", type=arguments.positive, default=5, metavar="N", help=told)
    command.add_argument(
        "--target", action="append", metavar="T", help="only this one, repeatable; default: all"
    )
    arguments.composite(command)
    command.add_argument(
        "--weights", type=Path, metavar="FILE", help="the checkpoint that it was compiled from"
    )
    command.add_argument(
        "--source",
        default="",
        metavar="SOURCE",
        help="the function that builds the model, where its manifest names one: it is run; of a"
        " model of transformers, transformers:FOLDER",
    )
    arguments.plugins(command)
    command.add_argument(
        "--ways",
        default="",
        metavar="W,W",
        help="also as loaded with compile, capture (on a GPU) or compile+capture",
    )
    arguments.device(command, "cpu")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    arguments.overrides(command)
