"""The arguments of `lrpc run`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrpc.commands.jobs.sources.find import FORMS
from lrpc.commands.session import arguments
from lrpc.commands.session.conditions import condition_part
from lrpc.results.maps import PRECISIONS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc run` to its parser."""
    add = parser.add_argument
    add("program", type=Path, metavar="DIR", help="a compiled program")
    _sources(parser)
    arguments.targets(parser)
    arguments.running(parser)
    arguments.preset(parser)
    told = "one of the program's composites (its first); with --data repeatable"
    add("--composite", action="append", metavar="NAME", help=told)
    place = "store a place's relevance too (globs), repeatable"
    add("--read", action="append", default=[], metavar="LAYER", help=place)
    told = "only relevance that passes these channels of a place in LRPC.CONDITIONS, repeatable"
    form = "PLACE=7,12-14"
    add("--condition", type=condition_part, action="append", default=[], metavar=form, help=told)
    add("--norm", choices=("none", "sum1", "sumT"), help="scale of the start")
    add("--no-ledger", action="store_true", help="leave the ledger out: faster")
    told = "draw what the queries of targets look at in these modules, as '*decoder.layers.2.*'"
    add("--attention", metavar="MODULES", help=told)
    told = "draw and print what each part of the model took of the relevance (needs matplotlib)"
    add("--waterfall", action="store_true", help=told)
    figures(arguments.display(parser))
    _data(parser)


def figures(group: arguments.Parser) -> None:
    """`--format`, `--width`, `--dpi` of panels."""
    add = group.add_argument
    told = "of panels and waterfalls (png); pdf and svg keep text as text and need matplotlib"
    add("--format", choices=("png", "pdf", "svg"), help=told)
    inches = arguments.between(float, 1, 40)
    add("--width", type=inches, metavar="INCHES", help="of panels for print (7)")
    dots = arguments.between(float, 30, 2400)
    add("--dpi", type=dots, metavar="N", help="dots per inch of panels for print (300)")


def _sources(parser: argparse.ArgumentParser) -> None:
    """Where images come from and results go."""
    source = parser.add_mutually_exclusive_group(required=True)
    add = source.add_argument
    add("--images", type=Path, nargs="+", metavar="PATH", help="files or folders: pictures of each")
    told = f"a data set: {FORMS}; see docs/tutorials/explain-a-data-set.md"
    add("--data", type=Path, nargs="+", metavar="SOURCE", help=told)
    add = parser.add_argument
    add("-o", "--output", type=Path, required=True, metavar="OUT")
    told = "leave out what this call has explained before; with --data it always does"
    add("--resume", action="store_true", help=told)


def _data(parser: argparse.ArgumentParser) -> None:
    """Arguments of data sets."""
    add = parser.add_argument_group("data sets (with --data)").add_argument
    add("--column", metavar="NAME", help="the column of a table that has the paths")
    add("--image-folder", type=Path, metavar="DIR", help="of the images that annotations name")
    told = "how maps are stored: " + "; ".join(f"{k}, {v}" for k, v in PRECISIONS.items())
    told = told.replace("%", "%%")  # as argparse reads it
    add("--maps", choices=tuple(PRECISIONS), default="float32", help=told)
    add("--threads", type=arguments.positive, default=0, help="of torch in each worker (its own)")
    told = "on Ray Data, at this address or (without one) on this machine; pip install 'lrpc[ray]'"
    add("--ray", nargs="?", const="local", metavar="ADDRESS", help=told)
    told = "loaded programs on Ray (as many as fit by the plan)"
    add("--workers", type=arguments.positive, default=0, metavar="N", help=told)
    add("--retry", action="store_true", help="explain again what failed before")
    told = "say what would be done: images, and the memory that the plan needs"
    add("--dry-run", action="store_true", help=told)
    add("--overwrite", action="store_true", help="begin this job anew")
