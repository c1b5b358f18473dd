"""How a program runs under a budget: what its blocks keep for relevance and what is recomputed, and
how many seeds go through them at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lrpc.backend.memory.run import Model
from lrpc.backend.memory.search import Configuration, Search, run_of
from lrpc.errors import ConfigError


@dataclass(frozen=True)
class Choice:
    """How a program runs: the blocks to recompute, each with the names of what it keeps all the
    same, the seeds that go through a block at once, and those in a pass.

    `peak` is the most bytes that forward and relevance of any target hold at once for one image and
    `seeds` seeds, weights and inputs apart; `ledger_peak` is the same with ledgers,
    which take one seed at a time where more do not fit, 0 where there is no budget; `free` is
    `peak` with nothing recomputed and all these seeds at once; `more` is the estimated work beyond
    that, as a share.
    """

    recomputed: Mapping[str, tuple[str, ...]]
    chunk: int
    per_pass: int
    seeds: int
    peak: int
    free: int
    budget: int
    more: float
    ledger_peak: int = 0

    def to_json(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return {
            "recomputed": list(self.recomputed),
            "kept": {key: list(names) for key, names in self.recomputed.items() if names},
            "chunk": self.chunk,
            "per_pass": self.per_pass,
            "seeds": self.seeds,
            "peak": self.peak,
            "free_peak": self.free,
            "budget": self.budget or None,
            "extra_work": round(self.more, 4),
            "ledger_peak": self.ledger_peak or None,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Choice:
        """A choice as a manifest holds it."""
        return Choice(
            {key: tuple(data["kept"].get(key, ())) for key in data["recomputed"]},
            data["chunk"],
            data["per_pass"],
            data["seeds"],
            data["peak"],
            data["free_peak"],
            data["budget"] or 0,
            data["extra_work"],
            data["ledger_peak"] or 0,
        )

    def of(self, model: Model) -> Model:
        """The model of the program that runs so."""
        return replace(model, recomputed=self.recomputed, chunk=self.chunk, per_pass=self.per_pass)


def choose(
    model: Model, checkpoint: str, budget: str | int, planned: Sequence[Mapping[str, int]] = ({},)
) -> Choice:
    """The cheapest configuration for a program of `model`, whose seeds all go through a block at
    once, such that calls keep the budget at all `planned` sizes of images.

    `checkpoint` is `none` (nothing is recomputed), `block` (all that saves anything is) or
    `auto` (what the budget asks for); `budget` is a number of bytes, a share of what the program
    holds with nothing recomputed ("50%"), or "" for no limit. Raises ConfigError that names the
    smallest budget that can be met.
    """
    kind = checkpoint if budget or checkpoint == "block" else "none"
    searches = [Search(replace(model, sizes=sizes), kind, bool(budget)) for sizes in planned]
    search = max(searches, key=lambda one: one.free)
    free = search.free
    limit = _limit(budget, free)
    if not limit:
        recomputed = search.least[0] if checkpoint == "block" else ()
        return _choice(search, (recomputed, model.chunk, model.chunk), free, 0)
    spare = 0  # of the limit, for what sizes and shared ends need more than the search sees
    while (found := search.within(limit - spare)) is not None:
        alone = search.most(*found)
        if alone > limit - spare:
            search.watch(found)  # another call needs more there
            continue
        whole = max(one.whole(found) for one in searches)
        if whole <= limit:
            return _choice(search, found, free, limit)
        spare = whole - alone
    ends: list[Configuration] = [(x, 1, y) for x in search.least for y in {1, model.chunk}]
    least, found = min((max(one.whole(x) for one in searches), x) for x in ends)
    if least <= limit:
        return _choice(search, found, free, limit)
    raise ConfigError(_too_small(budget, limit, free, least, checkpoint))


def _choice(search: Search, found: Configuration, free: int, limit: int) -> Choice:
    recomputed, chunk, _ = found
    return Choice(
        dict(recomputed),
        chunk,
        run_of(found),
        search.seeds,
        search.peak(*found),
        free,
        limit,
        search.more(found),
        search.ledger_peak(*found) if limit else 0,
    )


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
