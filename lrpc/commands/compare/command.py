"""`lrpc compare`: what it opens, what it writes, its closing table and its exit code."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lrpc.commands.compare.runner import RECORD, ComparisonRunner, Record, rows_of
from lrpc.commands.drawing.fonts import use
from lrpc.commands.session.calls import Request
from lrpc.commands.session.images import find_images
from lrpc.commands.session.options import make_output, options_of
from lrpc.commands.session.record import write_json
from lrpc.commands.session.terminal import Ended, watch
from lrpc.commands.session.units import count
from lrpc.errors import ProgramError
from lrpc.program.loading import load_program
from lrpc.support.files import shown, write_text
from lrpc.support.signals import finishing
from lrpc.support.terminal import Terminal

MEANS = {"sum": "sum", "positive_share_in_box": "in box"}


def main(args: argparse.Namespace, console: Console) -> int:
    """Compare; the exit code is 0, or 1 where an image failed. Raises LrpcError where nothing can
    be started. Progress and failures go to stderr, the closing table to `console`."""
    errors = Terminal(stderr=True)
    if args.font is not None:
        use(args.font)
    options = options_of(args, Request(chunk=args.seed_chunk))
    paths = find_images(args.images)
    programs = {path: load_program(path, options.device) for path in args.programs}
    runner = ComparisonRunner(programs, options, args.composite)
    if len(runner.members) < 2:
        raise ProgramError(
            "there is one composite to compare; compile with LRPC.COMPOSITE '[a, b]', or name"
            " several programs"
        )
    make_output(args.output, args.images)
    ended = watch(runner, paths, errors)
    records = [runner.records[path] for path in paths if path in runner.records]
    rows = [row for record in records for row in rows_of(record)]
    with finishing() if ended.stop is None else nullcontext():
        _write(args.output, runner, ended, records)
        _write_csv(args.output / "comparison.csv", rows)
    names = [one.name for one in runner.members]
    console.print(_table(names, rows, args.output, len(programs) > 1))
    return ended.code(errors)


def _write(output: Path, runner: ComparisonRunner, ended: Ended, records: Sequence[Record]) -> None:
    stopped = None if ended.stop is None else str(ended.stop)
    failed = [{"file": shown(path), "error": error} for path, error in runner.failed.items()]
    state = {"stopped_by": stopped, "images_left": ended.left}
    record = {**runner.about(), **state, "images": list(records), "failed": failed}
    write_json(output / RECORD, record)


def _write_csv(path: Path, rows: Sequence[Record]) -> None:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_text(path, text.getvalue())


def _table(names: Sequence[str], rows: Sequence[Record], output: Path, several: bool) -> Table:
    """The means over all targets, a composite (of `several` programs) a row: relevance, the share
    of its positive part in the box, likeness to the first."""
    targets = count(len(rows) // len(names), "target")
    title = f"means over {targets}, to {escape(shown(output))}"
    table = Table(title=title, title_justify="left")
    table.add_column("program" if several else "composite", no_wrap=True)
    heads = [*MEANS.values(), f"rank corr. with {names[0]}", "cosine"]
    for head in heads:
        table.add_column(escape(head), justify="right")
    for name in names:
        mine = [row for row in rows if row["composite"] == name]
        keys = [*MEANS, f"spearman with {names[0]}", f"cosine with {names[0]}"]
        table.add_row(escape(name), *(_mean([row[key] for row in mine]) for key in keys))
    return table


def _mean(values: Sequence[float | None]) -> str:
    known = [v for v in values if v is not None]
    return f"{sum(known) / len(known):.3g}" if known else "-"
