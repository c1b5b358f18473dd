"""Growth as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrpc.commands.bench.tables import Case, Sheet, duration
from lrpc.commands.session.units import size

LABELS = {"tokens": "tokens", "batch": "images", "seeds": "seeds", "layers": "layers"}


def growth_sheets(case: Case) -> list[Sheet]:
    """The exponents, then a table for each axis."""
    return [_exponents(case), *(_axis(case, axis) for axis in case["axes"])]


def base_of(case: Case, axis: str = "") -> str:
    """Where the axes meet, but for one of them."""
    base = case["settings"]["base"]
    parts = []
    for name, one in LABELS.items():
        word = one.removesuffix("s") if base[name] == 1 else one
        parts += [] if name == axis else [f"{base[name]:,} {word}"]
    return ", ".join(parts)


def _exponents(case: Case) -> Sheet:
    rows = []
    for axis, label in LABELS.items():
        found = case["fits"][axis]
        rows.append([label, *(_exponent(found[name]) for name in ("time", "peak", "predicted"))])
    head = ["growth with", "time", "measured peak", "predicted peak"]
    title = f"exponents of growth, over what range; otherwise {base_of(case)}"
    return Sheet(title, head, rows)


def _exponent(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "too few points"
    error = "" if found["error"] is None else f" ± {found['error']:.2f}"
    return f"{found['exponent']:.2f}{error} ({found['from']:,}–{found['to']:,})"


def _axis(case: Case, axis: str) -> Sheet:
    rows = []
    for row in case["axes"][axis]:
        told = "not compiled" if row["predicted"] is None else size(row["predicted"])
        cells = ["not measured"] * 3 + ["", told, ""]
        if row["time"] is not None:
            ratio = f"{row['predicted'] / row['peak'] - 1:+.1%}"
            cells = [duration(row[part]["median"]) for part in ("forward", "relevance", "time")]
            cells += [size(row["peak"]), size(row["predicted"]), ratio]
        rows.append([f"{row['x']:,}", *cells])
    head = [LABELS[axis], "forward", "relevance", "both", "peak", "predicted", "off by"]
    return Sheet(f"growth with {LABELS[axis]}; {base_of(case, axis)}", head, rows)
