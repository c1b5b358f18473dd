"""The columns of a job's tables, and how records become their rows."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrpc.errors import ProgramError
from lrpc.results.layout import damaged
from lrpc.support.files import complete

Record = Mapping[str, Any]

#: Of an image; all sizes in pixels, height first.
IMAGES = {
    "image": ("int64", "number of the image in the source, from 0"),
    "name": ("string", "file, as the source names it"),
    "sha256": ("string", "of the file; null where it was not read"),
    "height": ("int32", "of the image on disk, turned upright"),
    "width": ("int32", ""),
    "input_height": ("int32", "of the network's input"),
    "input_width": ("int32", ""),
    "valid_height": ("int32", "of the part of the input that is not padding"),
    "valid_width": ("int32", ""),
    "seen": ("list<double>", "top, left, height, width of what is not cropped; null: all"),
    "changed": ("string", "how it differs from what the model's own inference sees"),
    "frames": ("int32", "of an animation, or pages; the first is explained"),
    "levels": ("list<list<int32>>", "height and width of the maps that encoder tokens are of"),
    "targets": ("int32", "rows of the table of targets"),
    "note": ("string", "why there are none"),
    "error": ("string", "why it failed"),
    "truth_classes": ("list<string>", "of the source's objects; null where it has none"),
    "truth_boxes": ("list<list<double>>", "x0, y0, x1, y1 of each"),
}

#: Of a target of an image under a composite.
TARGETS = {
    "image": ("int64", "number of the image in the source"),
    "name": ("string", "file of the image"),
    "slug": ("string", "the target in one word"),
    "composite": ("string", "the rules"),
    "target": ("string", "its kind"),
    "layer": ("string", "of a target of a layer"),
    "at": ("list<int32>", "its index"),
    "against": ("string", "what it is contrasted with; null: nothing"),
    "value": ("double", "the target itself: the logit, say"),
    "query": ("int32", "of the object that it is of"),
    "class": ("int32", "number"),
    "class_name": ("string", ""),
    "score": ("double", ""),
    "x0": ("double", "box in pixels of the image on disk"),
    "y0": ("double", ""),
    "x1": ("double", ""),
    "y1": ("double", ""),
    "mask_pixels": ("int64", "of the image on disk; null without a mask"),
    "sum": ("double", "relevance of the image"),
    "positive": ("double", "its positive part"),
    "negative": ("double", "its negative part"),
    "in_padding": ("double", "relevance of the padding"),
    "inside": ("string", "mask or box: which the next two are of"),
    "positive_share": ("double", "of the positive relevance, what lies inside"),
    "area_share": ("double", "of the image, what is inside: chance"),
    "start": ("double", "ledger: relevance at the target"),
    "end": ("double", "ledger: relevance at the input"),
    "closure": ("double", "ledger: what is not accounted for, relative"),
    "sinks": ("map<string, double>", "ledger: what each kind took, summed with its signs"),
    "nodes": ("map<string, double>", "ledger: the largest of them by module and kind"),
    "parts": ("map<string, double>", "ledger: all of them by part of the model and kind"),
    "amplification": ("double", "Σ |R| of the input over the |start|"),
    "map": ("string", "name of the map's tensor; null where none is stored"),
    "map_scale": ("double", "what the stored numbers are multiplied by"),
    "mask": ("string", "name of the tensor of the mask's run lengths"),
    "layers": ("list<string>", "names of the tensors of relevance at places that were read"),
    "truth_class": ("string", "of the source's object that overlaps the box most"),
    "truth_iou": ("double", "their intersection over union"),
}

SECONDS = {"image": ("int64", "number of the image"), "seconds": ("double", "its share of a batch")}
TABLES = {"images": IMAGES, "targets": TARGETS, "seconds": SECONDS}


def image_row(record: Record) -> dict[str, Any]:
    """The row of an image."""
    about, truth = record["image"], record.get("truth")
    return {
        "image": record["number"],
        "name": record["name"],
        "sha256": record["sha256"],
        **_size(about.get("original_size"), ""),
        **_size(about.get("network_input"), "input_"),
        **_size(about.get("resized_to"), "valid_"),
        "seen": about.get("seen"),
        "changed": about.get("changed"),
        "frames": about.get("frames"),
        "levels": record.get("levels", []),
        "targets": len(record["targets"]),
        "note": record["note"] or None,
        "error": record["error"],
        "truth_classes": None if truth is None else [one["class"] for one in truth],
        "truth_boxes": None if truth is None else [one["box"] for one in truth],
    }


def _size(size: Sequence[int] | None, prefix: str) -> dict[str, int | None]:
    height, width = size or (None, None)
    return {f"{prefix}height": height, f"{prefix}width": width}


def target_rows(record: Record) -> list[dict[str, Any]]:
    """The rows of an image's targets."""
    return [_target_row(record, one) for one in record["targets"]]


def _target_row(record: Record, one: Record) -> dict[str, Any]:
    found, sums, ledger = one["detection"] or {}, one["relevance"], one["ledger"] or {}
    inside = next((name for name in ("mask", "box") if f"{name}_share_of_image" in sums), None)
    box = found.get("box_image") or (None,) * 4
    return {
        "image": record["number"],
        "name": record["name"],
        **{key: one[key] for key in ("slug", "composite", "target", "value", "map", "map_scale")},
        "layer": None if one["layer"] is None else str(one["layer"]),
        "at": one["index"],
        "against": one["against"],
        **{key: found.get(key) for key in ("query", "class", "class_name", "score")},
        **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
        "mask_pixels": found.get("mask_pixels_image"),
        **{key: sums[key] for key in ("sum", "positive", "negative", "in_padding")},
        "inside": inside,
        "positive_share": sums.get(f"positive_share_in_{inside}"),
        "area_share": sums.get(f"{inside}_share_of_image"),
        **{key: ledger.get(key) for key in ("start", "end", "closure")},
        "sinks": sorted(ledger["sinks"].items()) if ledger else None,
        "nodes": list(ledger["nodes"].items()) if ledger else None,
        "parts": list(ledger["parts"].items()) if ledger else None,
        "amplification": sums.get("amplification"),
        "mask": one["mask"],
        "layers": one["layers"],
        "truth_class": one["truth_class"],
        "truth_iou": one["truth_iou"],
    }


def rows_of(table: str, record: Record, seconds: float) -> list[dict[str, Any]]:
    """The rows of an image in one of the tables."""
    if table == "seconds":
        return [{"image": record["number"], "seconds": seconds}]
    return target_rows(record) if table == "targets" else [image_row(record)]


# -- as Parquet ------------------------------------------------------------------------------------


def arrow() -> Any:
    """pyarrow with its Parquet; ProgramError where it is not installed."""
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise ProgramError(
            "the tables of a data set are Parquet, which pyarrow reads and writes:"
            " pip install 'lrpc[parquet]'"
        ) from error


def table(name: str, rows: Iterable[Mapping[str, Any]]) -> Any:
    """Rows as a pyarrow table of that name's columns."""
    pa = arrow()
    kinds = {
        "list<double>": pa.list_(pa.float64()),
        "list<list<double>>": pa.list_(pa.list_(pa.float64())),
        "list<list<int32>>": pa.list_(pa.list_(pa.int32())),
        "list<string>": pa.list_(pa.string()),
        "list<int32>": pa.list_(pa.int32()),
        "map<string, double>": pa.map_(pa.string(), pa.float64()),
    }
    fields = [
        pa.field(column, kinds[kind] if kind in kinds else pa.type_for_alias(kind))
        for column, (kind, _) in TABLES[name].items()
    ]
    return pa.Table.from_pylist(list(rows), schema=pa.schema(fields))


def read_table(path: Path, columns: Sequence[str] | None = None) -> Any:
    """A file of a table, or some of its columns; raises ProgramError."""
    pa = arrow()
    try:
        return pa.parquet.read_table(path, columns=columns, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise damaged(path) from error


def write_table(path: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as a file of that table, whole or not at all; the same rows, the same bytes."""
    pa = arrow()
    found = table(name, rows)
    with complete(path) as part:
        pa.parquet.write_table(found, part, compression="zstd")
