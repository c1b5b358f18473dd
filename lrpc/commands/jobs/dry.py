"""`lrpc run --data --dry-run`: what a job would do, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from lrpc.commands.jobs.sources.items import Item
from lrpc.commands.jobs.spec import name_of
from lrpc.commands.jobs.units import frame_of
from lrpc.commands.jobs.worker import Worker
from lrpc.commands.session.room import Room, free_memory
from lrpc.commands.session.units import count, size
from lrpc.config.target_kinds import KINDS
from lrpc.results.layout import PART, Layout

_LOOKED_AT = 200  # images whose sizes are read
_BYTES = {"float32": 4, "float16": 2, "int8": 1, "none": 0}


def dry_run(
    worker: Worker, items: Sequence[Item], identity: dict[str, object], output: Path, seeds: int
) -> Table:
    """The job's id, its images, those that are done, and what memory and disk it needs: by the plan
    at the largest input of some images, and at most, with maps of all detections."""
    options = worker.spec.options
    where = Layout(output / f"job-{name_of(identity)}")
    done = PART * len(where.parts()) + len(where.images())
    step = max(1, len(items) // _LOOKED_AT)
    frames = [frame_of(one, worker.sizing) for one in items[::step]]
    known = [frame for frame in frames if frame is not None]
    table = Table(title="dry run: nothing is written", title_justify="left", show_header=False)
    table.add_row("job", where.root.name)
    table.add_row("images", f"{len(items)}, about {min(done, len(items))} of them done")
    if len(known) < len(frames):
        table.add_row("unreadable", f"{len(frames) - len(known)} of {len(frames)} looked at")
    if known:
        height, width = max(known, key=lambda frame: frame[0] * frame[1])
        sizes = dict(zip(("H", "W"), (height, width), strict=True)) if worker.sizing.steps else {}
        names = {KINDS[spec.kind].weighs or spec.name for spec in options.targets}
        room = Room(worker.spec.directory, names, sizes)
        chunk = min(seeds, options.request.chunk or seeds)
        needs = room.peak(options.batch_size, chunk, options.request.ledger)
        together = f"{count(options.batch_size, 'image')} of {height}×{width}, {chunk} seeds"
        free = size(free_memory(options.device))
        table.add_row("memory", f"{size(needs)} by the plan ({together}); {free} are free")
        pixels = sum(h * w for h, w in known) / len(known)
        each = pixels * _BYTES[worker.spec.precision] * seeds * len(worker.session.members)
        table.add_row("disk", f"at most {size(int(each * len(items)))} of maps, {seeds} per image")
    return table
