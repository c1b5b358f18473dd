"""Ledgers of calls as numbers, one for every seed in every image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from lrpc.program.protocol import Ledger

NODES = 12  # how many are kept by name
_FLOWS = ("out", "in")  # kinds of rows that are no sinks


@dataclass(frozen=True)
class LedgerValues:
    """One seed's ledger in one image: start = end + Σ sinks, up to `closure` (relative). `nodes`
    are the largest sinks in magnitude, those of one module and kind summed: `MODULE: KIND`."""

    start: float
    end: float
    closure: float
    sinks: Mapping[str, float]
    nodes: Mapping[str, float] = field(default_factory=dict)


def values_of(ledger: Ledger) -> list[list[LedgerValues]]:
    """The ledgers of a call, [K][B]."""
    rows = [(node, module, kind, a) for node, module, kind, a in ledger.rows if kind not in _FLOWS]
    names = [f"{module or node}: {kind}" for node, module, kind, _ in rows]
    sinks = ledger.sinks
    every = [ledger.start, ledger.end, ledger.closure, *sinks.values(), *(row[3] for row in rows)]
    table = torch.stack([one.detach().double().cpu() for one in every], -1).tolist()  # [K][B][n]
    return [[_one(numbers, list(sinks), names) for numbers in image] for image in table]


def _one(numbers: list[float], kinds: list[str], names: list[str]) -> LedgerValues:
    start, end, closure, *rest = numbers
    nodes: dict[str, float] = {}
    for name, amount in zip(names, rest[len(kinds) :], strict=True):
        nodes[name] = nodes.get(name, 0.0) + amount
    largest = sorted(nodes.items(), key=lambda item: (-abs(item[1]), item[0]))[:NODES]
    sinks = dict(zip(kinds, rest[: len(kinds)], strict=True))
    return LedgerValues(start, end, closure, sinks, dict(largest))
