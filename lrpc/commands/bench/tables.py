"""Figures in the units of tables, and tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Case = Mapping[str, Any]


@dataclass(frozen=True)
class Sheet:
    """A table: its title, heads, rows of cells, and lines below it. The first column is text."""

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


def duration(value: float) -> str:
    """Seconds with three digits, in ms below one second."""
    return f"{_digits(value)} s" if value >= 1 else f"{_digits(value * 1e3)} ms"


def _digits(value: float) -> str:
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def spanned(time: Mapping[str, float]) -> str:
    """A median with its quartiles: `1.23 ms (1.2–1.3)`."""
    middle = duration(time["median"])
    scale = 1 if middle.endswith(" s") else 1e3
    if time["count"] < 2:
        return middle
    return f"{middle} ({_digits(time['low'] * scale)}–{_digits(time['high'] * scale)})"


def to_rich(sheet: Sheet) -> Table:
    """The table for the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    notes = "\n".join(sheet.notes)
    table = Table(
        title=Text(sheet.title),
        caption=Text(notes) if notes else None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for i, name in enumerate(sheet.head):
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    looks = {"reached": "green", "not reached": "red"}
    for row in sheet.rows:
        table.add_row(*(Text(cell, looks.get(cell, "")) for cell in row))
    return table
