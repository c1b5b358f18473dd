"""`lrpc analyze` and `lrpc validate`: their arguments, and what they print."""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from lrpc.commands.analyze.collect import collect
from lrpc.commands.analyze.metadata import record
from lrpc.commands.analyze.programs import configured, opened
from lrpc.commands.analyze.request import UNITS, LocalRequest, parse_features
from lrpc.commands.analyze.show import show
from lrpc.commands.analyze.switches import DEFORMABLE, METHODS, NORM, RESIDUAL, SOFTMAX, Switches
from lrpc.commands.analyze.table import pyarrow, rows
from lrpc.commands.analyze.validate import report
from lrpc.commands.analyze.write import write
from lrpc.commands.session.changes import notice
from lrpc.commands.session.facts import RANDOM_WARNING, read_facts
from lrpc.commands.session.images import find_images
from lrpc.errors import AnalysisError, ImageError
from lrpc.program.devices import device_of
from lrpc.support.files import make_folder
from lrpc.support.signals import Stopped, finishing
from lrpc.support.terminal import Terminal, say

_UNWRITTEN = "images analysed, nothing is written; run it again, --images-glob takes fewer images"


def add_analyze_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lrpc analyze`."""
    add = parser.add_argument
    add("--images-dir", type=Path, required=True, metavar="D", help="all images of this folder")
    add("--images-glob", default="*", metavar="GLOB", help="those of these names only (*)")
    add("--which-module", choices=tuple(UNITS), required=True)
    add("--layer-index", type=_natural, required=True, metavar="I", help="from 0")
    what = "channels (encoder) or queries (decoder) of that layer: 17, 0,4,8-15 or all"
    add("--feature-index", required=True, metavar="F", help=what)
    add("--output-csv", type=Path, metavar="OUT", help=".csv, or .parquet")
    add("--output-parquet", type=Path, metavar="OUT", help="the same as Parquet")
    add("--method", choices=tuple(METHODS), default="lrp")
    add("--target-norm", choices=("sum1", "sumT", "none"), default="sum1")
    add("--lrp-epsilon", type=_epsilon, metavar="E", help="default: LRPC.EPSILON")
    add("--composite", metavar="NAME", help=f"default: {METHODS['lrp']}")
    add("--residual-split", choices=tuple(RESIDUAL))
    add("--ln-rule", choices=tuple(NORM))
    add("--softmax-rule", choices=tuple(SOFTMAX))
    add("--deform-rule", choices=tuple(DEFORMABLE), help="deformable attention")
    add("--qk-share", type=_fraction, metavar="RHO", help="to attention weights, 0 to 1")
    add("--measure", choices=("post_res", "pre_res"), default="post_res")
    add("--sublayer", choices=("self_attn", "cross_attn", "ffn"))
    add("--target-token", type=_natural, metavar="T", help="encoder: start at one token")
    add("--token-reduce", choices=("mean",), default="mean")
    add("--config", type=Path, metavar="C", help="detectron2-style YAML, compiled for the request")
    add("--program", type=Path, metavar="DIR", help="a program compiled for it, instead")
    add("--keep-program", type=Path, metavar="DIR", help="where the compiled program stays")
    add("--batch-size", type=_positive, default=1, metavar="N")
    add("--device", help="cuda or cpu (cuda where there is one)")
    add("overrides", nargs="*", metavar="KEY VALUE", help="as in detectron2")


def add_validate_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lrpc validate`."""
    parser.add_argument("table", type=Path, metavar="OUT", help="what `lrpc analyze` wrote")
    parser.add_argument("--images-dir", type=Path, metavar="D", help="hold the images against it")
    parser.add_argument("--program", type=Path, metavar="DIR", help="hold the program against it")


def validate(args: argparse.Namespace, console: Console) -> int:
    """`lrpc validate`: 0 where every check passed, else 1."""
    return report(args.table, console, args.images_dir, args.program)


def analyze(args: argparse.Namespace, console: Console) -> int:
    """`lrpc analyze`: 0, 1 where an image could not be read; all errors are LrpcErrors, and nothing
    is written before all is computed."""
    outputs = _outputs(args)
    request, switches = _question(args), _switches(args)
    device = device_of(args.device)
    paths = _images(args.images_dir, args.images_glob)
    errors = Terminal(stderr=True)
    over: list[int] = []
    try:
        with _program(args, request, switches) as directory:
            local = opened(directory, request, device)
            facts = read_facts(local.manifest)
            if facts.random_weights:
                say(errors, f"warning: {RANDOM_WARNING}", "bold red")
            with _progress(errors, len(paths), over) as done:
                found = collect(local, request, facts, paths, args.batch_size, device, done)
            about = record(local, request, facts, switches, found.running, found.images)
        table = rows(found.running, local.features)
        with finishing():
            write(outputs, table, about | {"failed": found.failed})
    except Stopped as stop:
        say(errors, f"stopped by {stop}: {sum(over)} of {len(paths)} {_UNWRITTEN}", "red")
        return stop.code
    show(console, outputs, request, table, about)
    if changes := notice(found.changes, found.total):
        say(errors, changes, "yellow")
    for one in found.failed:
        say(errors, one["error"], "red")
    return 1 if found.failed else 0


def _images(directory: Path, pattern: str) -> list[Path]:
    """The images of a folder in name order; ImageError where there is none."""
    found = [p for p in find_images([directory]) if fnmatchcase(p.name, pattern)]
    if not found:
        raise ImageError(f"{directory}: no image of this folder is named {pattern}")
    return found


def _outputs(args: argparse.Namespace) -> list[Path]:
    """The tables to write, their folders made; AnalysisError before anything is computed."""
    found: list[Path] = [p for p in (args.output_csv, args.output_parquet) if p is not None]
    if not found:
        raise AnalysisError("give --output-csv OUT, or --output-parquet OUT")
    for path in found:
        if path.suffix not in (".csv", ".parquet"):
            raise AnalysisError(f"{path}: name it .csv or .parquet")
        if path.is_dir():
            raise AnalysisError(f"{path}: is a folder; name a file")
        if path.suffix == ".parquet":
            pyarrow()
        make_folder(path.parent)
    return found


def _question(args: argparse.Namespace) -> LocalRequest:
    return LocalRequest(
        args.which_module,
        args.layer_index,
        parse_features(args.feature_index),
        args.sublayer,
        args.measure,
        args.target_token,
        args.target_norm,
    )


def _switches(args: argparse.Namespace) -> Switches:
    return Switches(
        args.method,
        args.composite,
        args.lrp_epsilon,
        args.residual_split,
        args.ln_rule,
        args.softmax_rule,
        args.deform_rule,
        args.qk_share,
    )


@contextmanager
def _program(args: argparse.Namespace, request: LocalRequest, switches: Switches) -> Iterator[Path]:
    """The directory of the program: given, compiled to stay, or compiled for this run alone."""
    if (args.config is None) == (args.program is None):
        raise AnalysisError("give --config C, or --program DIR, and not both")
    if args.program is not None:
        if switches.given or args.overrides or args.keep_program:
            raise AnalysisError(
                "--program DIR has its rules already: the method, its switches, --keep-program and"
                " KEY VALUE go with --config"
            )
        yield args.program
        return
    from lrpc.compiler import compile_config

    config = configured(args.config, args.overrides, request, switches)
    with tempfile.TemporaryDirectory(prefix="lrpc-") as folder:
        directory = args.keep_program or Path(folder) / "program"
        compile_config(config, directory)
        yield directory


@contextmanager
def _progress(errors: Console, total: int, over: list[int]) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere; `over` collects how many images are done."""
    columns = (TextColumn("analysing"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bar:
        task = bar.add_task("analysing", total=total)

        def done(count: int) -> None:
            over.append(count)
            bar.update(task, advance=count)

        yield done


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0 up")
    return int(text)


def _positive(text: str) -> int:
    if _natural(text) == 0:
        raise argparse.ArgumentTypeError("0 is too few")
    return int(text)


def _epsilon(text: str) -> float:
    return _number(text, math.inf)


def _fraction(text: str) -> float:
    return _number(text, 1.0)


def _number(text: str, high: float) -> float:
    """A finite number from 0 to `high`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 <= value <= high and math.isfinite(value)):
        upper = "up" if high == math.inf else f"to {high:g}"
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 {upper}")
    return value
