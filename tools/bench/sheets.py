"""Measured cases, as JSON holds them, become tables; tables become Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lrpc.commands.bench.tables import Case, Sheet, duration, spanned
from lrpc.commands.session.units import size


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
        "further ones": lambda r: duration(r["further"]["median"]) if r["further"] else "",
        "peak": lambda r: size(r["peak"]) if r["peak"] is not None else "",
        ratio: lambda r: _times(r["against"], ratio == "speed-up"),
        "over the floor": lambda r: (
            f"{r['time']['median'] / r['floor']:.3g}×" if r["floor"] else ""
        ),
        "error": lambda r: "" if r["error"] is None else f"{r['error']:.0e}",
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
