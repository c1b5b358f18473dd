"""How a program runs under a budget: what its blocks keep for relevance and what is computed again,
and how many seeds go through them at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lrpc.backend.memory.run import Model
from lrpc.backend.memory.search import Search, Way, run_of
from lrpc.errors import ConfigError


@dataclass(frozen=True)
class Choice:
    """How a program runs: the blocks to compute again, each with the names of what it keeps all the
    same, the seeds that go through a block at once and from block to block.

    `peak` is the most bytes that forward and relevance of any target hold at once for one image and
    `seeds` seeds, weights and inputs apart; `booked` is the same with ledgers, which take one seed
    at a time where more do not fit, 0 where there is no budget; `free` is `peak` with nothing
    computed again and all these seeds at once; `more` is the estimated work beyond that, as a
    share.
    """

    again: Mapping[str, tuple[str, ...]]
    chunk: int
    sweep: int
    seeds: int
    peak: int
    free: int
    budget: int
    more: float
    booked: int = 0

    def to_json(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return {
            "again": list(self.again),
            "kept": {key: list(names) for key, names in self.again.items() if names},
            "chunk": self.chunk,
            "sweep": self.sweep,
            "seeds": self.seeds,
            "peak": self.peak,
            "free_peak": self.free,
            "budget": self.budget or None,
            "extra_work": round(self.more, 4),
            "ledger_peak": self.booked or None,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Choice:
        """A choice as a manifest holds it."""
        return Choice(
            {key: tuple(data["kept"].get(key, ())) for key in data["again"]},
            data["chunk"],
            data["sweep"],
            data["seeds"],
            data["peak"],
            data["free_peak"],
            data["budget"] or 0,
            data["extra_work"],
            data["ledger_peak"] or 0,
        )

    def of(self, model: Model) -> Model:
        """The model of the program that runs so."""
        return replace(model, again=self.again, chunk=self.chunk, sweep=self.sweep)


def choose(model: Model, checkpoint: str, budget: str | int) -> Choice:
    """The cheapest way to run a program of `model`, all of whose seeds go through a block at once.

    `checkpoint` is `none` (nothing is computed again), `block` (all that saves anything is) or
    `auto` (what the budget asks for); `budget` is a number of bytes, a share of what the program
    holds with nothing computed again ("50%"), or "" for no limit. Raises ConfigError that names the
    smallest budget that can be met.
    """
    kind = checkpoint if budget or checkpoint == "block" else "none"
    search = Search(model, kind, bool(budget))
    free = search.free
    limit = _limit(budget, free)
    if not limit:
        again = search.least[0] if checkpoint == "block" else ()
        return _choice(search, (again, model.chunk, model.chunk), free, 0)
    while True:
        found = search.within(limit)
        if found is None:
            least = min(search.most(x, 1, y) for x in search.least for y in {1, model.chunk})
            raise ConfigError(_too_small(budget, limit, free, least, checkpoint))
        if search.most(*found) <= limit:
            return _choice(search, found, free, limit)
        search.watch(found)  # another call needs more there


def _choice(search: Search, way: Way, free: int, limit: int) -> Choice:
    again, chunk, _ = way
    peak, more = search.peak(*way), search.more(way)
    booked = search.booked(*way) if limit else 0
    return Choice(dict(again), chunk, run_of(way), search.seeds, peak, free, limit, more, booked)


def _limit(budget: str | int, free: int) -> int:
    if isinstance(budget, str) and budget.endswith("%"):
        return free * int(budget[:-1]) // 100
    return int(budget) if budget else 0


def _too_small(budget: str | int, limit: int, free: int, least: int, checkpoint: str) -> str:
    asked = f"{budget}, {limit:,} bytes," if str(budget).endswith("%") else f"{limit:,} bytes"
    hint = "" if checkpoint == "auto" else "; LRPC.MEMORY.CHECKPOINT auto may need less"
    return (
        f"LRPC.MEMORY.BUDGET: {asked} cannot be met for one image; the smallest budget that this"
        f" program can meet is {least:,} bytes ({math.ceil(100 * least / free)}%){hint}"
    )
