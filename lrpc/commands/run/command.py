"""`lrpc run`: what it opens, its closing table and its exit code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lrpc.commands.drawing.fonts import use
from lrpc.commands.jobs.command import main as job
from lrpc.commands.run.runner import Runner
from lrpc.commands.session.calls import Request
from lrpc.commands.session.conditions import joined
from lrpc.commands.session.images import find_images
from lrpc.commands.session.options import make_output, options_of
from lrpc.commands.session.room import apply_preset
from lrpc.commands.session.targets import parse_targets
from lrpc.commands.session.terminal import watch
from lrpc.commands.session.units import count
from lrpc.commands.session.writing import Outcome
from lrpc.config.target_kinds import KINDS
from lrpc.errors import ConfigError
from lrpc.program.devices import device_of
from lrpc.program.loading import load_program
from lrpc.results.figure import need_matplotlib
from lrpc.support.files import shown
from lrpc.support.terminal import Terminal, say

_ROWS = 40  # images shown in the closing table


def main(args: argparse.Namespace, console: Console) -> int:
    """Run; the exit code is 0, or 1 where an image failed. Raises LrpcError where nothing can be
    started. Progress and failures go to stderr, the closing table to `console`."""
    check_together(args)
    errors = Terminal(stderr=True)
    chosen = preset_of(args)
    if chosen:
        say(errors, chosen)
    if args.data:
        return job(args, console)
    request = Request(
        *(tuple(args.read), args.norm, not args.no_ledger, args.seed_chunk),
        only_composite(args.composite),
        joined(args.condition),
    )
    if args.font is not None:
        use(args.font)
    options = options_of(args, request)
    paths = find_images(args.images)
    runner = Runner(load_program(args.program, options.device), args.program, options)
    make_output(args.output, args.images)
    ended = watch(runner, paths, errors)
    if ended.outcomes:
        console.print(summary(ended.outcomes, args.output))
    for account in runner.accounts:
        console.print(account, highlight=False, markup=False, soft_wrap=True)
    return ended.code(errors)


def only_composite(names: Sequence[str]) -> str | None:
    """The composite that is asked for; ConfigError for several, which data sets alone take."""
    if len(set(names or ())) > 1:
        raise ConfigError("--images takes one --composite; `lrpc compare` explains by several")
    return names[0] if names else None


def check_together(args: argparse.Namespace) -> None:
    """Raise ConfigError for options of data sets without one, and for those that go with images."""
    if args.data:
        for name, value in (
            ("--attention", args.attention),
            ("--waterfall", args.waterfall),
            ("--format", args.format),
            ("--width", args.width),
            ("--dpi", args.dpi),
        ):
            if value:
                raise ConfigError(f"{name} draws pictures: it goes with --images")
        return
    if args.waterfall and args.no_ledger:
        raise ConfigError("--waterfall shows the ledger: leave --no-ledger out")
    if args.waterfall or args.format in ("pdf", "svg") or args.width or args.dpi:
        need_matplotlib()
    given = {
        "--column": args.column,
        "--image-folder": args.image_folder,
        "--ray": args.ray,
        "--workers": args.workers,
        "--retry": args.retry,
        "--overwrite": args.overwrite,
        "--dry-run": args.dry_run,
        "--threads": args.threads,
        "--maps": args.maps != "float32",
    }
    for name, value in given.items():
        if value:
            raise ConfigError(f"{name} goes with --data; --images writes pictures of each image")


def preset_of(args: argparse.Namespace) -> str:
    """What `--preset` chooses for the targets that are asked for, in words."""
    if args.preset is None:
        return ""
    names = {KINDS[spec.kind].weighs or spec.name for spec in parse_targets(args.target)}
    return apply_preset(args, args.program, names, args.top, device_of(args.device))


def summary(outcomes: Sequence[Outcome], output: Path) -> Table:
    """The closing table: an image a row, failures always, the rest as far as there is room."""
    failed = [outcome for outcome in outcomes if outcome.error]
    listed = outcomes if len(outcomes) <= _ROWS else failed[:_ROWS]
    table = Table(
        title=f"{count(len(outcomes), 'image')} to {escape(shown(output))}", title_justify="left"
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
