"""What a smaller memory budget costs in time."""

from __future__ import annotations

from functools import partial
from typing import Any

from lrpc.commands.bench.machine import machine
from tools.bench import offered
from tools.bench.case_encoder import Encoders, compiler_of
from tools.bench.contest import LIMITS, Candidate, Contest, Row
from tools.bench.encoder import chosen
from tools.bench.goals import verdicts
from tools.bench.settings import Options

SHARES = (100, 75, 50, 35)
COMPOSITE = "attnlrp"


def kinds() -> list[tuple[str, dict[str, Any]]]:
    """No checkpoints, checkpoints at every block, and budgets as shares of the peak: what they are
    called, and options of `lrpc.compile`."""
    found: list[tuple[str, dict[str, Any]]] = [
        ("no checkpoints", {}),
        ("a checkpoint at every block", {"checkpoint": "block"}),
    ]
    for share in SHARES[1:]:
        options = {"checkpoint": "auto", "budget": f"{share}%"}
        found.append((f"budget {share} % of the peak", options))
    return found


def candidates(made: Encoders) -> list[Candidate]:
    """A program for each of them."""
    limit = LIMITS["fp32"]
    return [
        Candidate(
            name,
            partial(made.program, COMPOSITE, offered.Configuration(name, options)),
            COMPOSITE,
            limit,
            ours=True,
            goal=name,
        )
        for name, options in kinds()
    ]


def run(options: Options) -> dict[str, Any]:
    """The case as JSON holds it."""
    layout = chosen(options.levels, options.quick)
    # A budget is for the seeds that a program is compiled for: here the one that is asked.
    made = Encoders(layout, compiler_of(layout, options, 1), options.batch, 1, options)
    references = {COMPOSITE: partial(made.reference, COMPOSITE)}
    rows = Contest(
        options.device, references, options.repeats, options.tell, until=options.until
    ).run(candidates(made))
    against_first(rows)
    values = {}
    half = next((r for r in rows if r.name.startswith("budget 50 %")), None)
    if half is not None and half.against is not None and not options.quick:
        values = {"checkpoint/50": {"slowdown": (half.name, half.against)}}
    title = f"{layout.described()}, B={options.batch}, {COMPOSITE}: time under a memory budget"
    table = {
        "title": title,
        "ratio": "time, of that without",
        "rows": [row.to_json() for row in rows],
    }
    options.show(table)
    return {
        "machine": machine(options.device),
        "settings": {"levels": [list(x) for x in layout.levels], "repeats": options.repeats},
        "tables": [table],
        "verdicts": verdicts(values, options.gpu_name),
    }


def against_first(rows: list[Row]) -> None:
    """Times and peaks against the row without checkpoints; one that exceeds its budget is wrong.

    A budget is a share of what is allocated beside weights and inputs.
    """
    first = rows[0]
    for row in rows:
        if row.time is None or first.time is None or row.peak is None or first.peak is None:
            continue
        row.against = row.time.median / first.time.median
        share = (row.peak - row.resident) / (first.peak - first.resident)
        row.note = f"takes {share:.0%}" if row is not first else ""
        if row.name.startswith("budget") and share > 1.03 * float(row.name.split()[1]) / 100:
            row.status, row.note = "wrong", f"{row.note} of the peak: over its budget"
