"""The arguments of `lrpc analyze` and `lrpc validate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrpc.commands.analyze.request import UNITS
from lrpc.commands.analyze.switches import DEFORMABLE, METHODS, NORM, RESIDUAL, SOFTMAX, THESIS
from lrpc.commands.session import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lrpc analyze`."""
    add = parser.add_argument
    add("--images-dir", type=Path, required=True, metavar="D", help="all images of this folder")
    add("--images-glob", default="*", metavar="GLOB", help="those of these names only (*)")
    add("--which-module", choices=tuple(UNITS), required=True)
    told = "from 0, as modules are; with --thesis from 1, as the thesis counts"
    add("--layer-index", type=arguments.natural, required=True, metavar="I", help=told)
    what = "channels (encoder) or queries (decoder) of that layer: 17, 0,4,8-15 or all"
    add("--feature-index", required=True, metavar="F", help=what)
    add("--output-csv", type=Path, metavar="OUT", help=".csv, or .parquet")
    add("--output-parquet", type=Path, metavar="OUT", help="the same as Parquet")
    told = "a folder of Parquet tables, as of data sets: contributions, and images with failures"
    add("-o", "--output", type=Path, metavar="OUT", help=told)
    told = "as in the thesis: its composite, --target-norm sum1, layers counted from 1"
    add("--thesis", action="store_true", help=told)
    add("--method", choices=tuple(METHODS), default="lrp")
    told = "of the start (none: the activation; with --thesis sum1)"
    add("--target-norm", choices=("sum1", "sumT", "none"), help=told)
    add("--lrp-epsilon", type=arguments.magnitude, metavar="E", help="default: LRPC.EPSILON")
    add("--composite", metavar="NAME", help=f"({METHODS['lrp']}; --thesis: {THESIS})")
    add("--residual-split", choices=tuple(RESIDUAL))
    add("--ln-rule", choices=tuple(NORM))
    add("--softmax-rule", choices=tuple(SOFTMAX))
    add("--deform-rule", choices=tuple(DEFORMABLE), help="deformable attention")
    add("--qk-share", type=arguments.fraction, metavar="RHO", help="to attention weights, 0 to 1")
    add("--measure", choices=("post_res", "pre_res"), default="post_res")
    add("--sublayer", choices=("self_attn", "cross_attn", "ffn"))
    add("--target-token", type=arguments.natural, metavar="T", help="encoder: start at one token")
    add("--token-reduce", choices=("mean",), default="mean")
    add("--config", type=Path, metavar="C", help="detectron2-style YAML, compiled for the request")
    add("--program", type=Path, metavar="DIR", help="a program compiled for it, instead")
    add("--keep-program", type=Path, metavar="DIR", help="where the compiled program stays")
    arguments.running(parser)
    arguments.preset(parser)
    arguments.overrides(parser)


def add_arguments_validate(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lrpc validate`."""
    parser.add_argument("table", type=Path, metavar="OUT", help="what `lrpc analyze` wrote")
    parser.add_argument("--images-dir", type=Path, metavar="D", help="hold the images against it")
    parser.add_argument("--program", type=Path, metavar="DIR", help="hold the program against it")
