"""From the files of single images to a part's tables and maps."""

from __future__ import annotations

from collections.abc import Sequence

from lrpc.results.layout import Layout
from lrpc.results.schema import rows_of, write_table
from lrpc.results.shards import Stored, merge, opened
from lrpc.results.shards import record as record_of


def finish(where: Layout, part: int, numbers: Sequence[int]) -> bool:
    """Make a part whole where all of its images are done; whether it is.

    Its bytes depend on the images' results alone. The table of images is written last: until then,
    the part is not whole, and killed at any moment it is made again from the images' own files.
    """
    files = [where.image(number) for number in numbers]
    if not all(file.is_file() for file in files):
        return False
    done, stored = [], []
    for file in files:
        with opened(file) as one:
            keys = sorted(one.keys())
        done.append(record_of(file))
        stored += [Stored(file, key, key) for key in keys]
    where.maps(part).unlink(missing_ok=True)
    if stored:
        merge(where.maps(part), stored)
    for name in ("targets", "seconds", "images"):
        rows = [row for record, seconds in done for row in rows_of(name, record, seconds)]
        write_table(where.table(name, part), name, rows)
    for file in files:
        file.unlink(missing_ok=True)
    return True
