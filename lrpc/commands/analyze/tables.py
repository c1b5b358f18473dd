"""The folder of Parquet tables that `lrpc analyze -o` writes, beside those of jobs in form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrpc.commands.session.writing import Outcome
from lrpc.results.schema import image_row, write_table
from lrpc.support.files import shown

CONTRIBUTIONS, IMAGES = "contributions.parquet", "images.parquet"


def write_images(
    folder: Path,
    paths: Sequence[Path],
    analysed: Sequence[Mapping[str, Any]],
    outcomes: Sequence[Outcome],
) -> None:
    """Write the table of images, with the columns of those of jobs: a row for each image that was
    analysed, or failed with the reason. Raises ProgramError."""
    write_table(folder / IMAGES, "images", list(_rows(paths, analysed, outcomes)))


def _rows(
    paths: Sequence[Path], analysed: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome]
) -> Iterator[Mapping[str, Any]]:
    done = iter(analysed)  # in the order in which they were, as their outcomes
    found = {one.path: (one, {} if one.error else next(done)) for one in outcomes}
    for number, path in enumerate(paths):
        if path not in found:
            continue  # a signal came before it
        outcome, about = found[path]
        yield image_row(
            {
                "number": number,
                "name": shown(path.name),
                "sha256": about.get("sha256"),
                "image": about,
                "targets": range(outcome.targets),
                "note": outcome.note,
                "error": outcome.error or None,
            }
        )
