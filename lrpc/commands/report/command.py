"""The command `lrpc report`."""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from lrpc.commands.report.pictures import Drawn, draw_image
from lrpc.commands.report.site import Site, by_image
from lrpc.commands.session.terminal import progress
from lrpc.commands.session.units import count, size
from lrpc.errors import ProgramError
from lrpc.results import opened
from lrpc.results.crops import CROPS
from lrpc.results.layout import REPORT
from lrpc.support.files import make_folder, refusals, shown, write_text
from lrpc.support.terminal import Terminal, say

_FOLDERS = ("photos", "maps", "layers", "masks", "thumbs", "targets", "data")

_results: opened.Results | None = None  # of a process that draws


def main(args: argparse.Namespace, console: Console) -> int:
    """Make the pages of a job's results. Raises ProgramError where there are none, and where the
    output is another folder than that of a report."""
    _check_installed()
    begun = time.monotonic()
    results = opened.open(args.results)
    output = args.output or results.layout.root.parent / "report"
    title = args.title or Path(results.job["program"]["weights"].get("file") or "results").stem
    with _replacing(output) as folder:
        site = Site(results, folder, title)
        drawn = _draw(results, folder, site.rows, args)
        site.write(drawn)
    files = [path for path in output.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    took = f"{time.monotonic() - begun:.0f} s, {count(len(files), 'file')}, {size(total)}"
    say(console, f"{shown(output / 'index.html')}: {count(len(site.rows), 'target')}, {took}")
    return 0


def _draw(
    results: opened.Results, folder: Path, rows: list[dict[str, Any]], args: argparse.Namespace
) -> dict[int, Drawn]:
    """Draw all pictures, on several processes."""
    images = list(by_image(rows))
    processes = args.processes or os.cpu_count() or 1
    errors = Terminal(stderr=True)
    found: dict[int, Drawn] = {}
    context = multiprocessing.get_context("spawn")
    draw = partial(_draw_one, folder, args.size, (args.crop,) if args.crop else CROPS)
    with (
        progress("drawing", len(images), errors) as advance,
        ProcessPoolExecutor(
            processes, context, initializer=_open, initargs=(results.layout.root,)
        ) as pool,
    ):
        try:
            for drawn in pool.map(draw, images, chunksize=8):
                found |= {one.row: one for one in drawn}
                advance(1, "")
        except BrokenProcessPool as error:
            told = "a process that draws was killed; with fewer --processes they need less memory"
            raise ProgramError(told) from error
    return found


def _open(root: Path) -> None:
    """Open the results in a process that draws."""
    global _results
    _results = opened.open(root)


def _draw_one(
    folder: Path, edge: int, crops: Sequence[str], rows: list[tuple[int, dict[str, Any]]]
) -> list[Drawn]:
    assert _results is not None
    return draw_image(_results, folder, rows, edge, crops)


def _check_installed() -> None:
    for name in ("jinja2", "sklearn"):
        if importlib.util.find_spec(name) is None:
            raise ProgramError(f"reports need {name}: pip install 'lrpc[report]'")


@contextmanager
def _replacing(output: Path) -> Iterator[Path]:
    """A new folder that takes the place of `output` when it is complete."""
    free = not output.exists() or (output.is_dir() and not any(output.iterdir()))
    if not free and not (output / REPORT).is_file():
        told = "is there and is no report; name another folder with -o"
        raise ProgramError(f"{shown(output)}: {told}")
    make_folder(output.parent)
    building = output.with_name(f".{output.name}.{os.getpid()}")
    with refusals(output):
        shutil.rmtree(building, ignore_errors=True)
        try:
            for name in _FOLDERS:
                (building / name).mkdir(parents=True)
            yield building
            write_text(building / REPORT, "{}\n")
            shutil.rmtree(output, ignore_errors=True)
            building.rename(output)
        finally:
            shutil.rmtree(building, ignore_errors=True)
