"""`lrpc compare`: its arguments, what it writes, its closing table and its exit code."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lrpc.commands.compare.runner import CompareOptions, ComparisonRunner
from lrpc.commands.drawing.pictures import Display
from lrpc.commands.run import command
from lrpc.commands.session.calls import Request
from lrpc.commands.session.changes import notice
from lrpc.commands.session.images import find_images
from lrpc.commands.session.names import output_stems
from lrpc.commands.session.numbers import fraction, percentile, positive, sigma
from lrpc.commands.session.record import request_of, write_json
from lrpc.commands.session.runner import TROUBLE, line_of
from lrpc.commands.session.targets import TargetError, parse_targets
from lrpc.errors import LrpcError, ProgramError
from lrpc.program.devices import device_of
from lrpc.program.loading import load_program
from lrpc.support.files import shown, write_text
from lrpc.support.signals import Stopped, finishing
from lrpc.support.terminal import Terminal, say

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
    add("--score", type=fraction, default=0.5, help="detections above (0.5)")
    add("--top", type=positive, default=5, help="detections per image (5)")
    add("--device", help="cuda or cpu (cuda where there is one)")
    add("--resume", action="store_true", help="leave out images that this call has compared before")
    add("--smooth", type=sigma, default=0.0, metavar="SIGMA", help="pictures only (0)")
    add(
        "--percentile",
        type=percentile,
        default=99.5,
        help="of |relevance| in full colour (99.5)",
    )


def main(args: argparse.Namespace, console: Console) -> int:
    """Compare; the exit code is 0, 1 where an image failed, 2 where nothing could be started."""
    errors = Terminal(stderr=True)
    done = Done()
    try:
        choice = _choice(args)
        paths = find_images(args.images)
        programs = {path: load_program(path, choice.device) for path in args.programs}
        runner = ComparisonRunner(programs, choice)
        if len(runner.columns) < 2:
            raise ProgramError(
                "there is one composite to compare; compile with LRPC.COMPOSITE '[a, b]', or name"
                " several programs"
            )
        command.make_output(args.output, args.images)
        before = _compared(args.output, runner) if args.resume else {}
        debug = bool(getattr(args, "debug", False))
        _compare(runner, paths, args.output, errors, debug, done, before)
        with finishing() if done.stop is None else nullcontext():
            _write(args.output, runner, done, len(paths))
    except LrpcError as error:
        if getattr(args, "debug", False):
            raise
        say(errors, f"error: {error}", "red")
        return 2
    if changed := notice(runner.changes, done.count):
        say(errors, changed, "yellow")
    rows = list(_rows(done.records))
    several = len(runner.programs) > 1
    console.print(_table([c.name for c in runner.columns], rows, args.output, several))
    if done.stop is not None:
        line = command.stopped_line(done.stop, done.count, len(paths))
        say(errors, f"{line}; the same command with --resume compares the rest", "red")
        return done.stop.code
    return 1 if done.failed else 0


@dataclass
class Done:
    """What became of the images so far, and the signal that ended the run before its time."""

    records: list[Row] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)
    stop: Stopped | None = None

    @property
    def count(self) -> int:
        """Images that are over with."""
        return len(self.records) + len(self.failed)


def _write(output: Path, runner: ComparisonRunner, done: Done, total: int) -> None:
    stopped = None if done.stop is None else str(done.stop)
    state = {"stopped_by": stopped, "images_left": total - done.count}
    write_json(
        output / "comparison.json",
        runner.record() | state | {"images": done.records, "failed": done.failed},
    )
    _write_csv(output / "comparison.csv", list(_rows(done.records)))


def _choice(args: argparse.Namespace) -> CompareOptions:
    wanted = None if args.composite is None else tuple(args.composite)
    return CompareOptions(
        parse_targets(args.target),
        args.score,
        args.top,
        device_of(args.device),
        wanted,
        Request(),
        Display(args.percentile, args.smooth),
    )


def _compare(
    runner: ComparisonRunner,
    paths: Sequence[Path],
    output: Path,
    errors: Console,
    debug: bool,
    done: Done,
    before: Mapping[str, Row],
) -> None:
    """One image after the other; the trouble of one is said and the rest go on. A signal ends it
    with what is done. Those in `before` keep their record."""
    try:
        for path, stem in zip(paths, output_stems(paths), strict=True):
            known = before.get(shown(path))
            if known is not None and _is_there(known, output / stem):
                done.records.append(known)
                say(errors, f"{shown(path)}: compared before")
                continue
            said, style = _one(runner, path, output / stem, debug, done)
            say(errors, f"{shown(path)}: {said}", style)
    except Stopped as stop:
        done.stop = stop


def _compared(output: Path, runner: ComparisonRunner) -> dict[str, Row]:
    """The images of an earlier call that asked the same of the same programs, with their records;
    none where there is no such call."""
    try:
        told = json.loads((output / "comparison.json").read_bytes())
        if _asked(told) != _asked(json.loads(json.dumps(runner.record()))):
            return {}
        list(_rows(told["images"]))  # has all that is read of them
        return {record["image"]["file"]: record for record in told["images"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # no record, or not one of ours


def _asked(record: Mapping[str, Any]) -> Any:
    """Programs and request, without what does not change results."""
    parts = {name: part | {"directory": None} for name, part in record["composites"].items()}
    return list(parts.items()), request_of(record)


def _is_there(record: Row, stem: Path) -> bool:
    """Whether the pictures of an image's record lie where this call would put them."""
    files = [target["file"] for target in record["targets"]]
    named = all(file.startswith(f"{stem.name}.") for file in files)
    return named and all((stem.parent / file).is_file() for file in files)


def _one(
    runner: ComparisonRunner, path: Path, stem: Path, debug: bool, done: Done
) -> tuple[str, str]:
    """Compare on one image; what to say of it, and in which colour."""
    try:
        record, count, note = runner.of(path, stem)
    except TargetError:
        raise
    except TROUBLE as error:
        if debug:
            raise
        text = line_of(error)
        done.failed.append({"file": shown(path), "error": text})
        return text.removeprefix(f"{shown(path)}: "), "red"
    done.records.append(record)
    return note or f"{count} target{'' if count == 1 else 's'}", ""


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
    write_text(path, text.getvalue())


def _table(names: Sequence[str], rows: Sequence[Row], output: Path, several: bool) -> Table:
    """The means over all targets, a composite (of `several` programs) a row: relevance, the share
    of its positive part in the box, likeness to the first."""
    count = len(rows) // len(names)
    title = f"means over {count} target{'' if count == 1 else 's'}, to {escape(shown(output))}"
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
