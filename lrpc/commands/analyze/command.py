"""`lrpc analyze` and `lrpc validate`: what they open, write and print."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.console import Console

from lrpc.commands.analyze.collect import Collected
from lrpc.commands.analyze.metadata import metadata_path, record, with_table
from lrpc.commands.analyze.programs import configured, opened
from lrpc.commands.analyze.request import LocalRequest, parse_features
from lrpc.commands.analyze.show import show
from lrpc.commands.analyze.switches import THESIS, Switches
from lrpc.commands.analyze.table import Row, as_csv, as_parquet, pyarrow, rows
from lrpc.commands.analyze.tables import CONTRIBUTIONS, write_images
from lrpc.commands.analyze.validate import report
from lrpc.commands.session.images import find_images
from lrpc.commands.session.room import apply_preset
from lrpc.commands.session.terminal import line, progress, stopped, warn_changes, warn_random
from lrpc.commands.session.writing import Outcome
from lrpc.errors import AnalysisError, ImageError
from lrpc.program.devices import device_of
from lrpc.support.files import complete, make_folder, shown
from lrpc.support.log import LOG
from lrpc.support.signals import finishing
from lrpc.support.terminal import Terminal, say


def main_validate(args: argparse.Namespace, console: Console) -> int:
    """`lrpc validate`: 0 where every check passed, else 1."""
    return report(args.table, console, args.images_dir, args.program)


def main(args: argparse.Namespace, console: Console) -> int:
    """`lrpc analyze`: 0, 1 where an image failed; all errors are LrpcErrors. The table is written
    at the end; where a signal comes before it, of the images until then."""
    outputs = _outputs(args)
    request, switches = _request(args), _switches(args)
    device = device_of(args.device)
    paths = _images(args.images_dir, args.images_glob)
    errors, outcomes = Terminal(stderr=True), list[Outcome]()
    with _program(args, request, switches) as directory:
        if told := apply_preset(args, directory, (), len(request.features or ()) or 8, device):
            say(errors, told)
        local = opened(directory, request, device, args.seed_chunk)
        warn_random(errors, [local.member.facts])
        with progress("analysing", len(paths), errors) as advance:

            def tell(outcome: Outcome) -> None:
                outcomes.append(outcome)
                if not outcome.error:
                    LOG.info("%s: analysed", shown(outcome.path))
                advance(1, outcome.path.name)

            found = Collected(local, request, tell, args.pad)
            stop = found.collect(paths, args.batch_size, debug=args.debug)
        if stop is not None and not found.images:
            raise stop
        about = record(local, request, switches, found.running, found.images)
    table = rows(found.running, local.features)
    failed = [one for one in outcomes if one.error]
    about["failed"] = [{"file": shown(one.path.name), "error": one.error} for one in failed]
    about["images_left"] = len(paths) - len(outcomes)
    with finishing() if stop is None else nullcontext():
        _write(outputs, table, about)
        if args.output is not None:
            write_images(args.output, paths, about["images"], outcomes)
    show(console, outputs, request, table, about)
    warn_changes(errors, [one.change for one in outcomes], len(outcomes))
    for one in failed:
        say(errors, line(one), "red")
    if stop is not None:
        how_far = f": the table is of {len(found.images)} of {len(paths)} images"
        return stopped(errors, stop, how_far, "run it again, --images-glob takes fewer images")
    return 1 if failed else 0


def _images(directory: Path, pattern: str) -> list[Path]:
    """The images of a folder in name order; ImageError where there is none."""
    found = [p for p in find_images([directory]) if fnmatchcase(p.name, pattern)]
    if not found:
        raise ImageError(f"{directory}: no image of this folder is named {pattern}")
    return found


def _outputs(args: argparse.Namespace) -> list[Path]:
    """The tables to write, their folders made; AnalysisError before anything is computed."""
    inside = None if args.output is None else args.output / CONTRIBUTIONS
    found: list[Path] = [p for p in (args.output_csv, args.output_parquet, inside) if p is not None]
    if not found:
        raise AnalysisError("give -o OUT, --output-csv OUT, or --output-parquet OUT")
    for path in found:
        if path.suffix not in (".csv", ".parquet"):
            raise AnalysisError(f"{path}: name it .csv or .parquet")
        if path.is_dir():
            raise AnalysisError(f"{path}: is a folder; name a file")
        if path.suffix == ".parquet":
            pyarrow()
        make_folder(path.parent)
    return found


def _request(args: argparse.Namespace) -> LocalRequest:
    if args.thesis and not args.layer_index:
        raise AnalysisError("--layer-index 0: with --thesis layers are counted from 1")
    return LocalRequest(
        args.which_module,
        args.layer_index - int(args.thesis),
        parse_features(args.feature_index),
        args.sublayer,
        args.measure,
        args.target_token,
        args.target_norm or ("sum1" if args.thesis else "none"),
    )


def _switches(args: argparse.Namespace) -> Switches:
    thesis = args.thesis and args.method == "lrp" and not (args.composite or args.program)
    return Switches(
        args.method,
        THESIS if thesis else args.composite,
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


def _write(outputs: Sequence[Path], table: Sequence[Row], about: Mapping[str, Any]) -> None:
    """Write the table to every path, by its suffix; what stood there is replaced.

    Raises ProgramError where the disk refuses.
    """
    for path in outputs:
        data = as_parquet(table) if path.suffix == ".parquet" else as_csv(table)
        with complete(path) as part, complete(metadata_path(path)) as beside:
            part.write_bytes(data)
            beside.write_bytes(with_table(about, path.name, data))
