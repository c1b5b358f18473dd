"""How calls keep a program's budget: what is run at a time, and what they hold then."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from lrpc.commands.session.units import size
from lrpc.runtime.limits import Call, Limits
from lrpc.runtime.loading import ProgramError


def budget_table(
    limits: Limits, composite: str, targets: Sequence[str], batch: int, seeds: int
) -> Table:
    """One line a target, without and with ledger: images, seeds from block to block and seeds in a
    block at a time, and the most bytes that the call holds; or what keeps it from the budget."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("target", no_wrap=True)
    for name in ("images", "seeds", "in a block", "at most", "results"):
        table.add_column(name, justify="right")
    for target in targets:
        for ledger in (False, True):
            places = frozenset(limits.own.plans[composite][target]["results"])
            call = Call(composite, target, places, ledger, batch, seeds)
            name = f"{target}, with its ledger" if ledger else target
            table.add_row(Text(name), *_row(limits, call))
    return table


def _row(limits: Limits, call: Call) -> list[str]:
    try:
        split = limits.split(call, call.batch)
    except ProgramError:
        least = limits.least(call)
        needed, results = limits.needs(call, least), limits.results(call, least)
        return ["refused", "", "", f"{size(needed)} needed", size(results)]
    shown = (str(split.images), str(split.per_pass), str(split.chunk))
    return [*shown, size(limits.needs(call, split)), size(limits.results(call, split))]
