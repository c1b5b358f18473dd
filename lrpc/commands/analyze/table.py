"""The table of an analysis, as CSV or Parquet: its columns, how it is written and read."""

from __future__ import annotations

import csv
import importlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrpc.commands.analyze.running import Running
from lrpc.errors import AnalysisError
from lrpc.support.untrusted import Unreadable, read_text

LARGEST = (
    2**28
)  # bytes of a table or its metadata file: all queries of a layer to all take some 10 MB
COLUMNS = {
    "index": "channel (encoder) or query (decoder) of the layer before",
    "contribution": "mean over images of its signed relevance, summed over tokens (encoder) or"
    " channels (decoder)",
    "feature": "the channel or query of the layer that relevance started from",
    "mean_abs": "mean over images of |its relevance|, each image's summed first",
    "gross": "mean over images of Σ|relevance| over tokens or channels: what there is before"
    " opposite signs cancel",
    "std": "standard deviation of its relevance over images (of the population: divided by n)",
    "share": "mean_abs over the feature's Σ mean_abs: sums to 1",
    "n_images": "images that were averaged",
}
WHOLE = ("index", "feature", "n_images")
Columns = dict[str, list[float]]  # whole numbers are exact


@dataclass(frozen=True)
class Row:
    """One line of the table, in its order."""

    index: int
    contribution: float
    feature: int
    mean_abs: float
    gross: float
    std: float
    share: float
    n_images: int

    def cells(self) -> list[int | float]:
        return [getattr(self, name) for name in COLUMNS]


def rows(running: Running, features: Sequence[int]) -> list[Row]:
    """One row for each feature and each index, in that order."""
    named = ("contribution", "absolute", "gross")
    mean, absolute, gross = (running.mean(name).tolist() for name in named)
    deviation = running.deviation.tolist()
    found = []
    for k, feature in enumerate(features):
        total = sum(absolute[k])
        for i, value in enumerate(mean[k]):
            share = absolute[k][i] / total if total else 0.0
            numbers = (absolute[k][i], gross[k][i], deviation[k][i], share)
            found.append(Row(i, value, feature, *numbers, running.images))
    return found


def as_csv(table: Sequence[Row]) -> bytes:
    """Plain CSV with a header line; numbers are written so that they read back exactly."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row.cells() for row in table)
    return text.getvalue().encode()


def as_parquet(table: Sequence[Row]) -> bytes:
    """The same columns as Parquet; AnalysisError where pyarrow is not installed."""
    arrow, parquet = pyarrow()
    columns = {
        name: arrow.array(
            [getattr(row, name) for row in table],
            type=arrow.int64() if name in WHOLE else arrow.float64(),
        )
        for name in COLUMNS
    }
    sink = arrow.BufferOutputStream()
    parquet.write_table(arrow.table(columns), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def pyarrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet module, an optional extra."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise AnalysisError(
            "Parquet needs pyarrow, which is not installed; pip install 'lrpc[parquet]', or write"
            " .csv"
        ) from None


def read_table(path: Path) -> Columns:
    """The columns of a table by name; AnalysisError where the file is none."""
    if not path.is_file():
        raise AnalysisError(f"{path}: no such file; `lrpc analyze --output-csv {path}` makes one")
    found = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    if list(found) != list(COLUMNS):
        listed = ", ".join(found) or "none"
        raise AnalysisError(f"{path}: not a table of `lrpc analyze`; its columns: {listed[:200]}")
    return found


def _read_parquet(path: Path) -> Columns:
    arrow, parquet = pyarrow()
    try:
        columns: Mapping[str, list[float | None]] = parquet.read_table(path).to_pydict()
    except (OSError, arrow.ArrowException) as error:
        raise AnalysisError(f"{path}: not a whole Parquet file ({error})") from error
    return {
        name: [float("nan") if v is None else float(v) for v in values]
        for name, values in columns.items()
    }


def _read_csv(path: Path) -> Columns:
    try:
        lines = list(csv.reader(io.StringIO(read_text(path, LARGEST))))
    except (Unreadable, csv.Error) as error:
        raise AnalysisError(f"{path}: not a CSV file ({error})") from error
    header = lines[0] if lines else []
    found: Columns = {name: [] for name in header}
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise AnalysisError(
                f"{path}:{number}: {len(line)} cells, the header has {len(header)}; make it again"
            )
        for name, cell in zip(header, line, strict=True):
            found[name].append(_number(cell, f"{path}:{number}: {name}"))
    return found


def _number(cell: str, place: str) -> float:
    if not cell.strip():
        return math.nan
    try:
        return float(cell)
    except ValueError:
        raise AnalysisError(
            f"{place}: {cell[:40]!r} is not a number; make the table again"
        ) from None
