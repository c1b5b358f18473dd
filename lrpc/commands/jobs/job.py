"""A job's folder: which images it has, which are done, and that one process works on it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrpc.commands.jobs.sources.items import Item
from lrpc.commands.jobs.spec import differences, name_of
from lrpc.errors import ProgramError
from lrpc.results import layout
from lrpc.results.layout import PART, Layout
from lrpc.support.files import make_folder, refusals, shown, write_text


@dataclass(frozen=True)
class Listed:
    """An image of a job: its part, and what tells that the file is another now."""

    item: Item
    part: int
    stamp: tuple[int, int]

    def line(self) -> str:
        return json.dumps([self.item.name, self.part, *self.stamp], ensure_ascii=False)


@dataclass(frozen=True, eq=False)
class Job:
    """A job that this process holds. Images are numbered as they are listed."""

    layout: Layout
    images: Sequence[Listed]
    notes: Sequence[str]  # what its user should know

    def part(self, number: int) -> list[int]:
        """The numbers of a part's images."""
        return self._parts().get(number, [])

    def _parts(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for number, one in enumerate(self.images):
            found.setdefault(one.part, []).append(number)
        return found

    def open_parts(self) -> dict[int, list[int]]:
        """Part → its images, of the parts that are not whole."""
        whole = set(self.layout.parts())
        return {part: numbers for part, numbers in self._parts().items() if part not in whole}


@contextmanager
def open_job(
    output: Path,
    identity: Mapping[str, Any],
    items: Sequence[Item],
    *,
    overwrite: bool = False,
    retry: bool = False,
) -> Iterator[Job]:
    """The job of that identity in an output folder: a new one, or an earlier one with what is done.

    Images that the source has now and had not before come last; those whose file changed are done
    again, and with `retry` those that failed, with their parts. With `overwrite` all are. Raises
    ProgramError where another process is at work on it.
    """
    make_folder(output)
    name = f"job-{name_of(identity)}"
    where = Layout(output / name)
    notes = [] if where.job.is_file() else _why_new(output, identity)
    with _held(where):
        if overwrite:
            for folder in ("images", "targets", "maps", "seconds", "unfinished"):
                shutil.rmtree(where.root / folder, ignore_errors=True)
            where.listing.unlink(missing_ok=True)
        for folder in ("images", "targets", "maps", "seconds", "unfinished"):
            make_folder(where.root / folder)
        earlier = _read(where)
        images = _listed(items, earlier)
        _undo(where, earlier, images, retry)
        text = "".join(f"{one.line()}\n" for one in images)
        write_text(where.listing, text)
        if not where.job.is_file():
            layout.write(where.job, {"id": name_of(identity), **identity})
        layout.write(output / layout.CURRENT, {"job": name})
        yield Job(where, images, notes)


def _listed(items: Sequence[Item], earlier: Mapping[str, tuple[int, int, int]]) -> list[Listed]:
    """The images: those of before under their numbers, then those that are new."""
    now = {one.name: one for one in items}
    images = []
    for name, (part, *_) in earlier.items():
        item = now.get(name, Item(name, Path(name)))
        images.append(Listed(item, part, item.stamp()))
    first = max((one.part for one in images), default=-1) + 1
    new = [one for one in items if one.name not in earlier]
    images += [Listed(one, first + n // PART, one.stamp()) for n, one in enumerate(new)]
    return images


def _read(where: Layout) -> dict[str, tuple[int, int, int]]:
    """Name → part and stamp, as they were listed."""
    if not where.listing.is_file():
        return {}
    try:
        rows = [json.loads(line) for line in where.listing.read_text("utf-8").splitlines()]
        return {name: (part, size, changed) for name, part, size, changed in rows}
    except (OSError, ValueError) as error:
        told = f"{shown(where.listing)}: not a listing of images; begin anew with --overwrite"
        raise ProgramError(told) from error


def _undo(
    where: Layout,
    earlier: Mapping[str, tuple[int, int, int]],
    images: Sequence[Listed],
    retry: bool,
) -> None:
    """Take back what is to be done again; what a whole part has left behind goes as well."""
    whole = set(where.parts())
    failed = _failed(where, whole) if retry else set()
    for number, one in enumerate(images):
        before = earlier.get(one.item.name)
        changed = before is not None and tuple(before[1:]) != one.stamp and one.stamp[0] >= 0
        if changed or number in failed:
            where.image(number).unlink(missing_ok=True)
            where.table("images", one.part).unlink(missing_ok=True)
            whole.discard(one.part)
        elif one.part in whole:
            where.image(number).unlink(missing_ok=True)


def _failed(where: Layout, whole: set[int]) -> set[int]:
    """The images that failed."""
    from lrpc.results.schema import arrow  # an extra

    pa, found = arrow(), set()
    for part in whole:
        table = pa.parquet.read_table(where.table("images", part), columns=["image", "error"])
        found |= {row["image"] for row in table.to_pylist() if row["error"] is not None}
    return found | {n for n in where.images() if _record_failed(where.image(n))}


def _record_failed(path: Path) -> bool:
    from lrpc.results.shards import metadata

    return json.loads(metadata(path)["record"])["error"] is not None


def _why_new(output: Path, identity: Mapping[str, Any]) -> list[str]:
    """Why this is another job than the output's newest, where there is one."""
    try:
        last = layout.current(output)
    except ProgramError:
        return []
    old = {key: value for key, value in layout.read(last.job).items() if key != "id"}
    why = differences(old, identity)
    more = f" and {len(why) - 3} more" if len(why) > 3 else ""
    return [f"a new job: {'; '.join(why[:3])}{more}; the results so far stay in {last.root.name}"]


@contextmanager
def _held(where: Layout) -> Iterator[None]:
    """Hold a job's lock; ProgramError where another process has it."""
    make_folder(where.root)
    with refusals(where.lock), open(where.lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ProgramError(
                f"{shown(where.root)}: another process is at work on this job"
            ) from error
        file.write(str(os.getpid()))
        file.flush()
        yield
