"""`lrpc export`: its arguments, and what it prints of the file."""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

from rich.console import Console

from lrpc.commands.session import arguments
from lrpc.commands.session.units import size
from lrpc.errors import ConfigError, LrpcWarning
from lrpc.export.graph import Exported
from lrpc.export.portable import FORMATS, Export
from lrpc.results import opened
from lrpc.results.crops import CROPS
from lrpc.results.opened import FORMS
from lrpc.support.files import check_file, shown
from lrpc.support.terminal import Terminal, say

_ABOUT = """\
Writes forward pass and relevance of one target as one file that needs neither lrpc nor the program:
onnx for onnxruntime, pt2 (torch.export, AOTInductor) for Python and C++ with libtorch. The inputs
of the file are those of the model and then where relevance starts, `at`: an int64 tensor [K, B, n]
with the indices of each of K seeds in each of B images (of class_logit: query, class). With --seeds
they are instead the relevance to start from, [K, *shape of the target]. Its outputs are those of
the model by their names, and `relevance.NAME` for each input or place read. With --ledger the last
output is `ledger`, float64 [R, K, B]: its start, its end, and the rows of the program's ledger,
named in the metadata. After it is written the file is run and compared with the program. Results of
`lrpc run --data` are written as coco, a JSON file of annotations with the places of their maps, or
as virelay, a folder with a project of ViRelAy (h5py).
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc export` to its parser."""
    command.description = _ABOUT
    add = command.add_argument
    add("program", type=Path, metavar="DIR", help="a program; results, for coco and virelay")
    add("--to", required=True, choices=[*FORMATS, *FORMS], help="the format")
    add("-o", "--output", type=Path, required=True, metavar="FILE")
    add("--target", metavar="T", help="where relevance starts (the program's first target)")
    add(
        "--read",
        nargs="+",
        default=[],
        metavar="PLACE",
        help="places to read relevance at; patterns such as 'encoder.layers.*' too (the inputs)",
    )
    add(
        "--seeds",
        action="store_true",
        help="relevance to start from is an input, [K, *shape of the target], in place of indices",
    )
    add("--ledger", action="store_true", help="the ledger is an output, its rows in the metadata")
    told = "of virelay: what lies around each object, or the whole image (object)"
    add("--crop", choices=CROPS, help=told)
    arguments.composite(command)
    arguments.plugins(command)


def main(args: argparse.Namespace, console: Console) -> int:
    """Export a program; the exit code is 0, all errors are LrpcErrors."""
    if args.to in FORMS:
        _check_crop(args)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", LrpcWarning)
            opened.open(args.program).write(args.to, args.output, args.crop or CROPS[0])
        for one in told:
            say(Terminal(stderr=True), f"warning: {one.message}", "yellow")
        say(console, f"{shown(args.output)}: written")
        return 0
    _check_crop(args)
    suffix = FORMATS[args.to]
    if args.output.suffix != suffix:
        raise ConfigError(f"-o {shown(args.output)}: name a file that ends in {suffix}")
    check_file(args.output)
    began = time.perf_counter()
    export = Export(args.program, args.to, args.plugin)
    made = export.made(args.target, args.composite, args.read, args.seeds, args.ledger)
    if args.to == "pt2":
        say(Terminal(stderr=True), "AOTInductor compiles it, which may take minutes")
    differences = list(export.write(made, args.output))
    seconds = time.perf_counter() - began
    say(console, f"{shown(args.output)}: {size(args.output.stat().st_size)}, {seconds:.1f} s")
    _describe(made, console)
    for difference in differences:
        say(console, f"  checked  {difference}")
    return 0


def _check_crop(args: argparse.Namespace) -> None:
    if args.crop and args.to != "virelay":
        raise ConfigError("--crop goes with --to virelay")


def _describe(made: Exported, console: Console) -> None:
    """Inputs and outputs, a line for each."""
    graph, names = made.module.graph, ", ".join(made.asked.target["index_names"])
    told = "relevance to start from" if made.asked.seeds else f"indices ({names})"
    for value in made.inputs:
        say(console, f"  input    {value.name}: {value.type}")
    say(console, f"  input    {made.start}: {graph.inputs[-1].type}, {told}")
    for name, value in graph.outputs:
        say(console, f"  output   {name}: {value.type}")
