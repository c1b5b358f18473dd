"""A job's folder: which images it has, which are done, and that one process works on it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrpc.commands.jobs.sources.items import Item, Truth
from lrpc.commands.jobs.spec import differences, name_of
from lrpc.commands.session.units import count
from lrpc.errors import ProgramError
from lrpc.results import layout, shards
from lrpc.results.layout import PART, Layout
from lrpc.results.schema import read_table
from lrpc.results.source import Listed, parts_of, read_listing
from lrpc.support.files import make_folder, refusals, shown, write_text


@dataclass(frozen=True, eq=False)
class Job:
    """A job that this process holds. Images are numbered as they are listed."""

    layout: Layout
    images: Sequence[Listed]
    truths: Mapping[str, tuple[Truth, ...]]  # by name, where the source has any
    notes: Sequence[str]  # what its user should know

    def item(self, number: int) -> Item:
        """An image, with what the source says of it."""
        one = self.images[number]
        return Item(one.name, one.place, self.truths.get(one.name))

    def parts(self) -> dict[int, list[int]]:
        """Part → the numbers of its images."""
        return parts_of(dict(enumerate(self.images)))

    def open_parts(self) -> dict[int, list[int]]:
        """Part → its images, of the parts that are not whole."""
        whole = set(self.layout.parts())
        return {part: numbers for part, numbers in self.parts().items() if part not in whole}


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
    with held(where.root, where.lock):
        if overwrite:
            for folder in ("images", "targets", "maps", "seconds", "unfinished"):
                shutil.rmtree(where.root / folder, ignore_errors=True)
            where.listing.unlink(missing_ok=True)
            where.job.unlink(missing_ok=True)
        for folder in ("images", "targets", "maps", "seconds", "unfinished"):
            make_folder(where.root / folder)
        earlier = read_listing(where)
        if not {one.part for one in earlier}.issuperset(where.parts()):
            raise layout.damaged(where.listing)
        images = _listed(items, earlier)
        if gone := len({one.name for one in earlier} - {one.name for one in items}):
            notes.append(f"{count(gone, 'image')} no longer in the source; what is done stays")
        _undo(where, earlier, images, retry)
        text = "".join(f"{one.line()}\n" for one in images)
        write_text(where.listing, text)
        if not where.job.is_file():
            layout.write(where.job, {"id": name_of(identity), **identity})
        layout.write(output / layout.CURRENT, {"job": name})
        truths = {one.name: one.truth for one in items if one.truth is not None}
        yield Job(where, images, truths, notes)


def _listed(items: Sequence[Item], earlier: Sequence[Listed]) -> list[Listed]:
    """The images: those of before under their numbers, then those that are new."""
    now = {one.name: one.place for one in items}
    images = []
    for one in earlier:
        place = now.pop(one.name, one.place)
        images.append(Listed(one.name, one.part, place.stamp(), place))
    first = max((one.part for one in images), default=-1) + 1
    for n, (name, place) in enumerate(now.items()):
        images.append(Listed(name, first + n // PART, place.stamp(), place))
    return images


def _undo(
    where: Layout,
    earlier: Sequence[Listed],
    images: Sequence[Listed],
    retry: bool,
) -> None:
    """Take back what is to be done again; what a whole part has left behind goes as well."""
    whole = set(where.parts())
    failed = _failed(where, whole) if retry else set()
    for number, one in enumerate(images):
        before = earlier[number].stamp if number < len(earlier) else one.stamp
        changed = before != one.stamp and one.stamp[0] >= 0
        if changed or number in failed:
            where.image(number).unlink(missing_ok=True)
            where.table("images", one.part).unlink(missing_ok=True)
            whole.discard(one.part)
        elif one.part in whole:
            where.image(number).unlink(missing_ok=True)


def _failed(where: Layout, whole: set[int]) -> set[int]:
    """The images that failed."""
    found = set()
    for part in whole:
        table = read_table(where.table("images", part), ["image", "error"])
        found |= {row["image"] for row in table.to_pylist() if row["error"] is not None}
    own = {n: shards.record(where.image(n))[0] for n in where.images()}
    return found | {n for n, record in own.items() if record["error"] is not None}


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
def held(root: Path, lock: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made; ProgramError where another process has it."""
    make_folder(root)
    with refusals(lock), open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ProgramError(f"{shown(root)}: another process is at work on this job") from error
        file.write(str(os.getpid()))
        file.flush()
        yield
