"""Images that a table names: CSV, TSV or Parquet with a column of paths."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lrpc.commands.jobs.sources.items import Item, SourceError
from lrpc.results.schema import arrow
from lrpc.results.source import Place
from lrpc.support.files import reason, shown

#: Names of the column of paths, the first that a table has.
COLUMNS = ("path", "image", "file", "file_name", "filename", "image_path", "name")


def in_csv(file: Path, column: str | None) -> Iterator[Item]:
    """The images of a CSV or TSV file with a header line, paths from its own folder on."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            head = lines.readline()
            mark = max("\t" if file.suffix.lower() == ".tsv" else ",;", key=head.count)
            lines.seek(0)
            rows = csv.DictReader(lines, delimiter=mark, skipinitialspace=True)
            name = _column(file, rows.fieldnames or (), column)
            for row in rows:
                if row[name]:
                    yield Item(row[name], Place(file.parent / row[name]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{shown(file)}: cannot be read ({reason(error)})") from error


def in_parquet(file: Path, column: str | None) -> Iterator[Item]:
    """The images of a Parquet file, paths from its own folder on."""
    pa = arrow()
    try:
        with pa.parquet.ParquetFile(file) as table:
            name = _column(file, table.schema_arrow.names, column)
            _check_text(file, table.schema_arrow.field(name), pa)
            for batch in table.iter_batches(columns=[name]):
                for value in batch.column(0).to_pylist():
                    if value:
                        yield Item(value, Place(file.parent / value))
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{shown(file)}: cannot be read ({reason(error)})") from error


def _check_text(file: Path, field: Any, pa: Any) -> None:
    """Refuse a column that has no paths, such as one of the images' own bytes."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise SourceError(
            f"{shown(file)}: the column {field.name!r} has {kind}, not paths; name another with"
            " --column, or write its images to files"
        )


def _column(file: Path, names: Sequence[str], wanted: str | None) -> str:
    """The column of paths, as named or by one of the usual names."""
    if wanted is not None and wanted in names:
        return wanted
    listed = ", ".join(names) or "none"
    if wanted is not None:
        raise SourceError(f"{shown(file)}: has no column {wanted!r}; it has: {listed}")
    usual = {name.strip().lower(): name for name in reversed(names)}
    found = next((usual[name] for name in COLUMNS if name in usual), None)
    if found is None:
        raise SourceError(
            f"{shown(file)}: which column has the images? Name it with --column; it has: {listed}"
        )
    return found
