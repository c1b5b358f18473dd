"""Measured cases, as JSON holds them, become tables for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def size(value: float) -> str:
    """Bytes in decimal units with three digits."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f} B"


def sheets(case: Case) -> list[Sheet]:
    """The tables of a case, the goals that it is held against last."""
    found = [rows_of(table) for table in case.get("tables", ())]
    if "figures" in case:
        found.append(_figures(case))
    if case.get("verdicts"):
        found.append(_verdicts(case["verdicts"]))
    return found


def rows_of(table: Mapping[str, Any]) -> Sheet:
    """One table of a case."""
    rows = table["rows"]
    measured = [row for row in rows if row["status"] == "measured" and row["time"]]
    ratio = table.get("ratio", "speed-up")
    columns: dict[str, Callable[[Any], str]] = {
        "time": lambda r: spanned(r["time"]),
        "forward alone": lambda r: duration(r["forward"]["median"]) if r["forward"] else "",
        "further ones": lambda r: duration(r["again"]["median"]) if r["again"] else "",
        "peak": lambda r: size(r["peak"]) if r["peak"] is not None else "",
        ratio: lambda r: _times(r["against"], ratio == "speed-up"),
        "over the floor": lambda r: (
            f"{r['time']['median'] / r['floor']:.3g}×" if r["floor"] else ""
        ),
        "error": lambda r: f"{r['error']:.0e}",
        "note": lambda r: r["note"],
    }  # fmt: skip
    cells = {name: [show(row) for row in measured] for name, show in columns.items()}
    kept = [name for name, column in cells.items() if any(column)]
    lines = [[row["name"], *(cells[name][i] for name in kept)] for i, row in enumerate(measured)]
    return Sheet(table["title"], ["", *kept], lines, _rest(rows))


def _times(against: float | None, faster: bool) -> str:
    return "" if against is None else f"{1 / against if faster else against:.2f}×"


def _rest(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was not measured, and why: rows of one reason together."""
    words = {"absent": "not here", "wrong": "WRONG", "failed": "FAILED"}
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["status"] in words:
            reasons.setdefault((words[row["status"]], row["note"]), []).append(row["name"])
    return [f"{word}: {'; '.join(names)} – {why}" for (word, why), names in reasons.items()]


def _figures(case: Case) -> Sheet:
    found, name = case["figures"], case["settings"]["config"]
    rows = [
        ["wall time, imports included", duration(found["seconds"])],
        ["least and most", f"{duration(found['least_seconds'])} – "
         f"{duration(found['most_seconds'])}"],
        ["peak resident memory", size(found["peak_bytes"])],
        ["outputs differ from the model's by", f"{found['outputs_differ_by']:.0e}"],
    ]  # fmt: skip
    return Sheet(f"lrpc compile --config {name}, weights on disk", ["", "figure"], rows)


def _verdicts(found: Sequence[Mapping[str, Any]]) -> Sheet:
    """Goals beside what was measured."""
    shows: dict[str, Callable[[float], str]] = {"seconds": duration, "bytes": size}
    rows = []
    for one in found:
        show = shows.get(one["kind"], "{:.2f}×".format)
        sign = "≥" if one["kind"] == "speedup" else "≤"
        aim = "" if one["aim"] is None else f"{sign} {show(one['aim'])}"
        said = "" if one["aim_reached"] is None else _word(one["aim_reached"])
        must = [f"{sign} {show(one['must'])}", _word(one["reached"])]
        rows.append([one["work"], show(one["value"]), one["row"], *must, aim, said])
    head = ["target", "measured", "by", "must reach", "", "aims at", ""]
    return Sheet("targets", head, rows)


def _word(reached: bool) -> str:
    return "reached" if reached else "not reached"


def to_markdown(sheet: Sheet) -> str:
    """The table in Markdown, its title a paragraph before it."""
    lines = [f"**{sheet.title}**", ""]
    lines.append("| " + " | ".join(sheet.head) + " |")
    lines.append("|---|" + "---:|" * (len(sheet.head) - 1))
    lines += ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in sheet.rows]
    if sheet.notes:
        lines += ["", *(f"- {note}" for note in sheet.notes)]
    return "\n".join(lines) + "\n"


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
