"""From the files of single images to a part's tables and maps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrpc.results.layout import Layout
from lrpc.results.schema import image_row, target_rows, write_table
from lrpc.results.shards import Stored, merge, opened


def finish(where: Layout, part: int, numbers: Sequence[int]) -> bool:
    """Make a part whole where all of its images are done; whether it is.

    Its bytes depend on the images' results alone. The table of images is written last: until then,
    the part is not whole, and killed at any moment it is made again from the images' own files.
    """
    files = [where.image(number) for number in numbers]
    if not all(file.is_file() for file in files):
        return False
    records, seconds, stored = [], [], []
    for file in files:
        with opened(file) as one:
            notes, keys = one.metadata(), sorted(one.keys())
        records.append(json.loads(notes["record"]))
        seconds.append({"image": records[-1]["number"], "seconds": float(notes["seconds"])})
        stored += [Stored(file, key, key) for key in keys]
    _write(where, part, records, seconds, stored)
    for file in files:
        file.unlink(missing_ok=True)
    return True


def _write(
    where: Layout,
    part: int,
    records: Sequence[dict[str, Any]],
    seconds: Sequence[dict[str, Any]],
    stored: Sequence[Stored],
) -> None:
    if stored:
        merge(where.maps(part), stored)
    else:
        Path(where.maps(part)).unlink(missing_ok=True)
    rows = [row for record in records for row in target_rows(record)]
    write_table(where.table("targets", part), "targets", rows)
    write_table(where.table("seconds", part), "seconds", seconds)
    write_table(where.table("images", part), "images", [image_row(one) for one in records])
