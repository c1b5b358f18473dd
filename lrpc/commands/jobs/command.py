"""`lrpc run --data`: a job, from its arguments to its closing table and exit code."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lrpc.commands.jobs.dry import dry_run
from lrpc.commands.jobs.job import Job, open_job
from lrpc.commands.jobs.local import work
from lrpc.commands.jobs.on_ray import Cluster
from lrpc.commands.jobs.on_ray import work as work_on_ray
from lrpc.commands.jobs.parts import finish
from lrpc.commands.jobs.progress import Told
from lrpc.commands.jobs.sources.find import Source, find
from lrpc.commands.jobs.spec import Spec
from lrpc.commands.jobs.units import Unit, units
from lrpc.commands.jobs.worker import Worker
from lrpc.commands.session.calls import Request
from lrpc.commands.session.conditions import joined
from lrpc.commands.session.options import options_of
from lrpc.commands.session.terminal import stopped, warn_amplified, warn_random
from lrpc.commands.session.units import count
from lrpc.results.schema import arrow
from lrpc.support.files import shown
from lrpc.support.signals import Stopped
from lrpc.support.terminal import Terminal, say


def main(args: argparse.Namespace, console: Console) -> int:
    """Run a job, or go on with it; the exit code is 0, or 1 where an image failed. Raises LrpcError
    where nothing can be started."""
    arrow()
    errors = Terminal(stderr=True)
    request = Request(
        *(tuple(args.read), args.norm, not args.no_ledger, args.seed_chunk),
        condition=joined(args.condition),
    )
    composites = tuple(dict.fromkeys(args.composite or ()))
    threads = args.threads or (1 if args.ray else 0)
    spec = Spec(args.program, options_of(args, request), composites, args.maps, threads)
    cluster = Cluster(args.ray, args.workers, args.seed_chunk or args.top) if args.ray else None
    source = Source(tuple(args.data), args.column, args.image_folder)
    items = find(source)
    worker = Worker(spec)
    identity = spec.identity([one.facts for one in worker.session.members], source.record())
    if args.dry_run:
        seeds = args.top * len(spec.options.targets)
        console.print(dry_run(worker, items, identity, args.output, seeds))
        return 0
    opened = open_job(args.output, identity, items, overwrite=args.overwrite, retry=args.retry)
    with opened as job:
        for note in job.notes:
            say(errors, note, "yellow")
        warn_random(errors, [worker.session.facts])
        return _run(job, worker, cluster, args.output, errors, console)


def _run(
    job: Job,
    worker: Worker,
    cluster: Cluster | None,
    output: Path,
    errors: Console,
    console: Console,
) -> int:
    for part, numbers in job.open_parts().items():
        finish(job.layout, part, numbers)  # what a killed run had done but not put together
    todo = units(job, worker.sizing, worker.spec.options.batch_size)
    left = _left(job)
    told = Told(errors, left)
    stop = None
    try:
        with told.bar:
            if cluster is None:
                work(job, worker, _finishing(job, todo), told.tell)
            else:
                work_on_ray(job, worker.spec, cluster, list(todo), told.tell)
    except Stopped as signal:
        stop = signal
    rest = _left(job)  # an actor of Ray may have written more than it has told
    for part, numbers in job.open_parts().items():
        finish(job.layout, part, numbers)
    console.print(summary(job, told, output))
    warn_amplified(errors, told.amplification)
    if stop is not None:
        how_far = f": {count(told.left - rest, 'image')} done, {rest} left"
        return stopped(errors, stop, how_far, "the same command explains the rest")
    return 1 if told.failed else 0


def _left(job: Job) -> int:
    """How many images are not done yet."""
    return sum(map(len, job.open_parts().values())) - len(job.layout.images())


def _finishing(job: Job, todo: Iterator[Unit]) -> Iterator[Unit]:
    """The units; a part is made whole a while after its last one, when that is written."""
    waiting: list[int] = []
    parts = job.parts()
    for unit in todo:
        part = job.images[unit[0]].part
        if part not in waiting:
            waiting.append(part)
        if len(waiting) > 2 and finish(job.layout, waiting[0], parts[waiting[0]]):
            del waiting[0]
        yield unit


def summary(job: Job, told: Told, output: Path) -> Table:
    """The closing table."""
    table = Table(
        title=f"{escape(shown(output))}: {job.layout.root.name}",
        title_justify="left",
        show_header=False,
    )
    before = len(job.images) - told.left
    done = f"{told.images} in this run" + (f", {before} before" if before else "")
    table.add_row("images", f"{len(job.images)}: {done}")
    table.add_row("targets", f"{told.targets} in this run")
    table.add_row("failed", str(told.failed))
    table.add_row("images/s", f"{told.rate:.2f}")
    if told.closure:
        table.add_row("ledgers close to", f"{told.closure:.1e}")
    return table
