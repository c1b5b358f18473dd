"""`lrpc run`: its arguments, its progress, its closing table and its exit code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lrpc.commands.drawing.pictures import Display
from lrpc.commands.session.calls import Request
from lrpc.commands.session.changes import notice
from lrpc.commands.session.facts import RANDOM_WARNING
from lrpc.commands.session.images import find_images
from lrpc.commands.session.numbers import fraction, percentile, positive, sigma
from lrpc.commands.session.runner import Options, Outcome, Runner
from lrpc.commands.session.targets import parse_targets
from lrpc.config.target_kinds import KINDS
from lrpc.errors import LrpcError, ProgramError
from lrpc.program.devices import device_of
from lrpc.program.loading import load_program
from lrpc.support.files import make_folder, shown
from lrpc.support.signals import Stopped
from lrpc.support.terminal import Terminal, say

_RESUME = "the same command with --resume explains the rest"
_ROWS = 40  # images shown in the closing table
TARGET_HELP = "where relevance starts, repeatable: " + ", ".join(
    (f"{name} | " if kind.of_detections else "") + kind.form for name, kind in KINDS.items()
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc run` to its parser."""
    parser.add_argument("program", type=Path, metavar="DIR", help="a compiled program")
    parser.add_argument(
        "--images", type=Path, nargs="+", required=True, metavar="PATH", help="files or folders"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--target", action="append", default=[], metavar="T", help=TARGET_HELP)
    parser.add_argument("--score", type=fraction, default=0.5, help="detections above (0.5)")
    parser.add_argument("--top", type=positive, default=5, help="detections per image (5)")
    parser.add_argument("--batch-size", type=positive, default=1, metavar="N")
    parser.add_argument("--device", help="cuda or cpu (cuda where there is one)")
    parser.add_argument(
        "--read",
        action="append",
        default=[],
        metavar="LAYER",
        help="store a place's relevance too (globs)",
    )
    parser.add_argument("--composite", metavar="NAME", help="one of the program's (its first)")
    parser.add_argument("--norm", choices=("none", "sum1", "sumT"), help="scale of the start")
    parser.add_argument("--seed-chunk", type=positive, metavar="K", help="seeds per call")
    parser.add_argument(
        "--resume", action="store_true", help="leave out images that this call has explained before"
    )
    parser.add_argument("--no-ledger", action="store_true", help="leave the ledger out: faster")
    parser.add_argument(
        "--smooth", type=sigma, default=0.0, metavar="SIGMA", help="Gaussian, pictures only (0)"
    )
    parser.add_argument(
        "--percentile", type=percentile, default=99.5, help="of |relevance| in full colour (99.5)"
    )


def main(args: argparse.Namespace, console: Console) -> int:
    """Run; the exit code is 0, 1 where an image failed, 2 where nothing could be started.

    Progress and failures go to stderr, the closing table to `console`. With `args.debug` errors
    are raised instead.
    """
    debug = bool(getattr(args, "debug", False))
    errors = Terminal(stderr=True)
    outcomes: list[Outcome] = []
    paths: list[Path] = []
    stop: Stopped | None = None
    try:
        options = _options(args, debug)
        paths += find_images(args.images)
        make_output(options.output, args.images)
        runner = Runner(load_program(args.program, options.device), options)
        if runner.facts.random_weights:
            say(errors, f"warning: {RANDOM_WARNING}", "bold red")
        _with_progress(runner, paths, errors, outcomes)
    except LrpcError as error:
        if debug:
            raise
        say(errors, f"error: {error}", "red")
        return 2
    except Stopped as told:
        stop = told
    changes = [one.change for one in outcomes if one.change is not None]
    if changed := notice(changes, len(outcomes)):
        say(errors, changed, "yellow")
    if outcomes:
        console.print(summary(outcomes, args.output))
    if stop is not None:
        say(errors, f"{stopped_line(stop, len(outcomes), len(paths))}; {_RESUME}", "red")
        return stop.code
    return 1 if any(outcome.error for outcome in outcomes) else 0


def stopped_line(stop: Stopped, done: int, total: int) -> str:
    """How far a command came that was told to end."""
    if not done:
        return f"stopped by {stop} before any image was done"
    return f"stopped by {stop}: {_count(done, 'image')} done, {total - done} left"


def _options(args: argparse.Namespace, debug: bool) -> Options:
    device = device_of(args.device)
    request = Request(
        tuple(args.read), args.norm, not args.no_ledger, args.seed_chunk or 0, args.composite
    )
    return Options(
        directory=args.program,
        output=args.output,
        device=device,
        targets=parse_targets(args.target),
        score=args.score,
        top=args.top,
        batch_size=args.batch_size,
        request=request,
        display=Display(args.percentile, args.smooth),
        resume=args.resume,
        debug=debug,
    )


def make_output(path: Path, sources: Sequence[Path]) -> None:
    """Make the output folder; ProgramError where that is a folder that images come from."""
    if any(source.is_dir() and source.resolve() == path.resolve() for source in sources):
        raise ProgramError(f"{path}: the images are read from this folder; name another for -o")
    make_folder(path)


def _with_progress(
    runner: Runner, paths: Sequence[Path], errors: Console, outcomes: list[Outcome]
) -> None:
    """Run with a bar on a terminal; elsewhere one line per image. Outcomes are added as they
    come."""
    columns = (
        TextColumn("explaining"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[name]}", markup=False),
    )
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bar:
        task = bar.add_task("explaining", total=len(paths), name="")

        def report(outcome: Outcome) -> None:
            outcomes.append(outcome)
            if outcome.error or outcome.note or not errors.is_terminal:
                say(errors, _line(outcome), "red" if outcome.error else "")
            bar.update(task, advance=1, name=outcome.path.name)

        runner.run(paths, report)


def _line(outcome: Outcome) -> str:
    """One image in one line."""
    name = shown(outcome.path)
    if outcome.error:
        text = outcome.error
        return text if text.startswith(name) else f"{name}: {text}"
    return f"{name}: {outcome.note or _count(outcome.targets, 'target')}"


def summary(outcomes: Sequence[Outcome], output: Path) -> Table:
    """The closing table: an image a row, failures always, the rest as far as there is room."""
    failed = [outcome for outcome in outcomes if outcome.error]
    listed = outcomes if len(outcomes) <= _ROWS else failed[:_ROWS]
    table = Table(
        title=f"{_count(len(outcomes), 'image')} to {escape(shown(output))}", title_justify="left"
    )
    table.add_column("image", overflow="fold")
    table.add_column("targets", justify="right")
    table.add_column("ledger closes to", justify="right")
    table.add_column("result", overflow="fold")
    for one in listed:
        closure = "" if one.closure is None else f"{one.closure:.1e}"
        result = "failed" if one.error else one.note or "written"
        table.add_row(escape(shown(one.path.name)), str(one.targets), closure, result)
    total = sum(o.targets for o in outcomes)
    worst = [o.closure for o in outcomes if o.closure is not None]
    table.add_section()
    table.add_row("all", str(total), f"{max(worst):.1e}" if worst else "", f"{len(failed)} failed")
    return table


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
