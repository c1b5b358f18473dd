"""The tables of `lrpc concepts`, as Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lrpc.results.schema import arrow
from lrpc.support.files import complete

#: Table → column → type and meaning.
TABLES: dict[str, dict[str, tuple[str, str]]] = {
    "concepts": {
        "class": ("int32", "number of the class"),
        "class_name": ("string", ""),
        "place": ("string", ""),
        "channel": ("int32", "the concept"),
        "samples": ("int32", "detections of the class"),
        "relevance": ("double", "mean share of the detections' relevance at the place"),
        "relevance_rank": ("int32", "from 0, the most relevant first"),
        "activation": ("double", "mean of the largest activation in the image"),
        "activation_rank": ("int32", "from 0, the most active first"),
        "context": ("double", "mean share of its map outside the object; null: no maps"),
    },
    "references": {
        "class": ("int32", ""),
        "place": ("string", ""),
        "channel": ("int32", ""),
        "by": ("string", "relmax or actmax"),
        "rank": ("int32", "from 0"),
        "value": ("double", "share of relevance, or activation"),
        "image": ("int64", "number in the source"),
        "name": ("string", "file of the image"),
        "slug": ("string", "the target"),
        "context": ("double", "share of the map's positive relevance outside the object"),
        "crop": ("string", "picture of the concept, in the folder of the tables"),
    },
    "edges": {
        "class": ("int32", ""),
        "place": ("string", "of the upper channel"),
        "channel": ("int32", "relevance that passes it"),
        "below": ("string", "the next place that relevance passes"),
        "channel_below": ("int32", "reaches this channel"),
        "share": ("double", "of the magnitudes of all channels there, mean over references"),
    },
    "vectors": {
        "image": ("int64", ""),
        "name": ("string", ""),
        "slug": ("string", ""),
        "class": ("int32", ""),
        "place": ("string", ""),
        "relevance": ("list<double>", "of each channel, summed over positions"),
        "activation": ("list<double>", "of each channel, the largest of the image"),
        "likelihood": ("double", "log, under the mixture of the class; null: too few samples"),
        "outlier": ("bool", "below the first quartile by 1.5 times the distance of quartiles"),
    },
    "prototypes": {
        "class": ("int32", ""),
        "place": ("string", ""),
        "number": ("int32", "from 0, the largest weight first"),
        "weight": ("double", "of the component"),
        "mean": ("list<double>", "share of relevance of each channel"),
        "samples": ("int32", "detections that it explains best"),
        "image": ("int64", "of the detection nearest to it"),
        "name": ("string", ""),
        "slug": ("string", ""),
    },
}


def write(folder: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `NAME.parquet`, whole or not at all; the same rows, the same bytes."""
    pa = arrow()
    lists = {"list<double>": pa.list_(pa.float64())}
    fields = [
        pa.field(column, lists.get(kind) or pa.type_for_alias(kind))
        for column, (kind, _) in TABLES[name].items()
    ]
    table = pa.Table.from_pylist([dict(row) for row in rows], pa.schema(fields))
    with complete(folder / f"{name}.parquet") as part:
        pa.parquet.write_table(table, part, compression="zstd")
