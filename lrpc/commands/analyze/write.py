"""Writes tables with their sidecars: each file whole or not at all, the table last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrpc.commands.analyze.metadata import metadata_path, with_table
from lrpc.commands.analyze.table import Row, as_csv, as_parquet
from lrpc.support.files import complete


def write(outputs: Sequence[Path], table: Sequence[Row], about: Mapping[str, Any]) -> None:
    """Write the table to every path, by its suffix; what stood there is replaced.

    Raises ProgramError where the disk refuses.
    """
    for path in outputs:
        data = as_parquet(table) if path.suffix == ".parquet" else as_csv(table)
        with complete(path) as part, complete(metadata_path(path)) as beside:
            part.write_bytes(data)
            beside.write_bytes(with_table(about, path.name, data))
