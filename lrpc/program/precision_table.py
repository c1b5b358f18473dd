"""A precision report as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table


def precision_table(report: Mapping[str, Any]) -> Table:
    """The report of a tf32 or bf16 program: a line for each output and target."""
    title = f"{report['precision']} against {report['against']}, {report['input']} input"
    table = Table(title=escape(f"{title}; TF32 {report['tf32']}"))
    for column in ("what", "error", "largest or correlation", "differing, or closure"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in report["outputs"]:
        moved = f"{row['moved']} of {row['of']} differ"
        table.add_row(
            escape(row["output"]), _word(row.get("median")), _word(row.get("largest")), moved
        )
    table.add_section()
    for row in report["targets"]:
        under = f"{row['composite']}: " if "composite" in row else ""
        figures = (row["relative_l1"], row["correlation"], row["closure"])
        table.add_row(escape(f"relevance of {under}{row['target']}"), *map(_word, figures))
    for name in report["unchecked"]:
        table.add_row(escape(f"relevance of {name}"), "", "", "not checked")
    table.caption = f"relevance: Σ|R − R64| / Σ|R64| at the input, at most {report['bound']:g}"
    return table


def _word(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.3g}"
