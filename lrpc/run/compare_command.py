"""`lrpc compare`: its arguments, what it writes, its closing table and its exit code."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lrpc.errors import LrpcError, ProgramError
from lrpc.run import command
from lrpc.run.calls import Request
from lrpc.run.devices import device_of
from lrpc.run.images import find_images
from lrpc.run.names import output_stems
from lrpc.run.pictures import Display
from lrpc.run.program_dir import load_program
from lrpc.run.record import complete, write_json
from lrpc.run.runner import TROUBLE, line_of
from lrpc.run.targets import TargetError, parse_targets
from lrpc.run.versus import Choice, Versus
from lrpc.terminal import Terminal

Row = dict[str, Any]
MEANS = {"sum": "sum", "positive_share_in_box": "in box"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc compare` to its parser."""
    add = parser.add_argument
    add("programs", type=Path, nargs="+", metavar="DIR", help="compiled programs, one or several")
    add("--images", type=Path, nargs="+", required=True, metavar="PATH", help="files or folders")
    add("-o", "--output", type=Path, required=True, metavar="OUT")
    add(
        "--composite",
        action="append",
        metavar="NAME",
        help="only these of the programs' composites, repeatable (all)",
    )
    add("--target", action="append", default=[], metavar="T", help=command.TARGET_HELP)
    add("--score", type=command.fraction, default=0.5, help="detections above (0.5)")
    add("--top", type=command.positive, default=5, help="detections per image (5)")
    add("--device", help="cuda or cpu (cuda where there is one)")
    add("--smooth", type=command.sigma, default=0.0, metavar="SIGMA", help="pictures only (0)")
    add(
        "--percentile",
        type=command.percentile,
        default=99.5,
        help="of |relevance| in full colour (99.5)",
    )


def main(args: argparse.Namespace, console: Console) -> int:
    """Compare; the exit code is 0, 1 where an image failed, 2 where nothing could be started."""
    errors = Terminal(stderr=True)
    try:
        choice = _choice(args)
        paths = find_images(args.images)
        programs = {path: load_program(path, choice.device) for path in args.programs}
        versus = Versus(programs, choice)
        if len(versus.columns) < 2:
            raise ProgramError(
                "there is one composite to compare; compile with LRPC.COMPOSITE '[a, b]', or name"
                " several programs"
            )
        command.make_folder(args.output, args.images)
        records, failures = _compare(
            versus, paths, args.output, errors, bool(getattr(args, "debug", False))
        )
        write_json(args.output / "comparison.json", versus.record() | {"images": records})
        _write_csv(args.output / "comparison.csv", list(_rows(records)))
    except LrpcError as error:
        if getattr(args, "debug", False):
            raise
        command.say(errors, f"error: {error}", "red")
        return 2
    console.print(_table([c.name for c in versus.columns], list(_rows(records)), args.output))
    return 1 if failures else 0


def _choice(args: argparse.Namespace) -> Choice:
    wanted = None if args.composite is None else tuple(args.composite)
    return Choice(
        parse_targets(args.target),
        args.score,
        args.top,
        device_of(args.device),
        wanted,
        Request(),
        Display(args.percentile, args.smooth),
    )


def _compare(
    versus: Versus, paths: Sequence[Path], output: Path, errors: Console, debug: bool
) -> tuple[list[Row], int]:
    """One image after the other; the trouble of one is said and the rest go on."""
    records, failures = [], 0
    for path, stem in zip(paths, output_stems(paths), strict=True):
        try:
            record, count, note = versus.of(path, output / stem)
        except TargetError:
            raise
        except TROUBLE as error:
            if debug:
                raise
            failures += 1
            text = line_of(error)
            command.say(errors, text if text.startswith(str(path)) else f"{path}: {text}", "red")
            continue
        records.append(record)
        said = note or f"{count} target{'' if count == 1 else 's'}"
        command.say(errors, f"{path}: {said}", "")
    return records, failures


def _rows(records: Sequence[Row]) -> Iterator[Row]:
    """One row for every image, target and composite."""
    for record in records:
        for target in record["targets"]:
            names = list(target["composites"])
            for i, (name, part) in enumerate(target["composites"].items()):
                ledger = part["ledger"] or {}
                yield {
                    "image": record["image"]["file"],
                    "target": target["target"],
                    "layer": target["layer"],
                    "index": " ".join(map(str, target["index"])),
                    "composite": name,
                    "start": ledger.get("start"),
                    "sum": part["sum"],
                    "positive_share_in_box": part["positive_share_in_box"],
                    "positive_share_in_mask": part.get("positive_share_in_mask"),
                    "ledger_closure": ledger.get("closure"),
                    **{
                        f"{kind} with {other}": target[kind][i][j]
                        for kind in ("spearman", "cosine")
                        for j, other in enumerate(names)
                    },
                }


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with complete(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")


def _table(names: Sequence[str], rows: Sequence[Row], output: Path) -> Table:
    """The means over all targets, a composite a row: relevance, the share of its positive part in
    the box, likeness to the first."""
    count = len(rows) // len(names)
    title = f"means over {count} target{'' if count == 1 else 's'}, to {escape(str(output))}"
    table = Table(title=title, title_justify="left")
    table.add_column("composite", no_wrap=True)
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
