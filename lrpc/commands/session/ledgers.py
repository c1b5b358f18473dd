"""Ledgers of calls as numbers, one for every seed in every image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from lrpc.program.protocol import Ledger
from lrpc.runtime.results import part_of

NODES = 12  # how many are kept by name
PARTS = 12  # of these, too, and the rest by kind
_FLOWS = ("out", "in")  # kinds of rows that are no sinks


@dataclass(frozen=True)
class LedgerValues:
    """One seed's ledger in one image: start = end + Σ sinks, up to `closure` (relative). `nodes`
    are the largest sinks in magnitude, those of one module and kind summed: `MODULE: KIND`; `parts`
    all of them by part of the model, likewise, the smallest as `rest: KIND`."""

    start: float
    end: float
    closure: float
    sinks: Mapping[str, float]
    nodes: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)


def values_of(ledger: Ledger) -> list[list[LedgerValues]]:
    """The ledgers of a call, [K][B]."""
    rows = [(node, module, kind, a) for node, module, kind, a in ledger.rows if kind not in _FLOWS]
    sinks = ledger.sinks
    every = [ledger.start, ledger.end, ledger.closure, *sinks.values(), *(row[3] for row in rows)]
    table = torch.stack([one.detach().double().cpu() for one in every], -1).tolist()  # [K][B][n]
    names = [(module or node, kind) for node, module, kind, _ in rows]
    return [[_one(numbers, list(sinks), names) for numbers in image] for image in table]


def _one(numbers: list[float], kinds: list[str], names: list[tuple[str, str]]) -> LedgerValues:
    start, end, closure, *rest = numbers
    amounts = rest[len(kinds) :]
    nodes = _netted([f"{module}: {kind}" for module, kind in names], amounts)
    parts = _netted([f"{part_of(module)}: {kind}" for module, kind in names], amounts)
    for name in list(parts)[PARTS:]:
        other = f"rest: {name.rpartition(': ')[2]}"
        parts[other] = parts.get(other, 0.0) + parts.pop(name)
    sinks = dict(zip(kinds, rest[: len(kinds)], strict=True))
    return LedgerValues(start, end, closure, sinks, dict(list(nodes.items())[:NODES]), parts)


def _netted(names: list[str], amounts: list[float]) -> dict[str, float]:
    """Amounts of one name summed, the largest in magnitude first."""
    found: dict[str, float] = {}
    for name, amount in zip(names, amounts, strict=True):
        found[name] = found.get(name, 0.0) + amount
    return dict(sorted(found.items(), key=lambda item: (-abs(item[1]), item[0])))
