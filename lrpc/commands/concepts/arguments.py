"""The arguments of `lrpc concepts`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrpc.commands.jobs.sources.find import FORMS
from lrpc.commands.session import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc concepts` to its parser."""
    add = parser.add_argument
    add("program", type=Path, metavar="DIR", help="compiled with LRPC.CONDITIONS and LRPC.STARTS")
    add("--data", type=Path, nargs="+", required=True, metavar="SOURCE", help=f"images: {FORMS}")
    add("--column", metavar="NAME", help="the column of a table that has the paths")
    add("--image-folder", type=Path, metavar="DIR", help="of the images that annotations name")
    add(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="a new folder, or that of a run that goes on",
    )
    add("--overwrite", action="store_true", help="begin anew in a folder of other concepts")
    told = "place whose channels are the concepts, repeatable (all that can be masked)"
    add("--place", action="append", default=[], metavar="PLACE", help=told)
    told = "concepts of each class and place that are shown in crops and in the graph (8)"
    add("--concepts", type=arguments.positive, default=8, metavar="N", help=told)
    add("--references", type=arguments.positive, default=8, metavar="N", help="of a concept (8)")
    told = "most prototypes of a class; as many as the BIC tells (4)"
    add("--prototypes", type=arguments.positive, default=4, metavar="N", help=told)
    arguments.targets(parser)
    arguments.running(parser)
